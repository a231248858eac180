//! Tasks, each seen only by its owner.
//!
//! A request's walk: who is calling, proved ([`trust`]); what is asked for (`api`); is it a [`task`]; where is it kept
//! ([`store`]). [`stack()`] has it on one page. The service holds no secret but its database's: it can verify who is
//! calling, and can't pretend to be anybody.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test reads what we made"))]

pub mod metrics;
pub mod settings;

mod stack;

pub mod trust;

mod api;

pub mod task;

pub mod store;

mod cli;
mod import;
mod startup;

pub use cli::main;
pub use stack::stack;
