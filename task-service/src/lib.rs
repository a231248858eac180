//! Tasks, each seen only by its owner.
//!
//! A request's walk: who is calling, proved ([`trust`]); what is wanted ([`api`]); is it a [`task`]; where is it kept
//! ([`store`]). [`stack()`] has it on one page. The service holds no secret but its database's: it can check who is
//! calling, and can't pretend to be anybody.

pub mod settings;

pub mod trust;

pub mod api;

pub mod task;

pub mod store;

mod cli;
mod stack;
mod startup;

pub use cli::main;
pub use stack::stack;
