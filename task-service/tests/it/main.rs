//! task-service through its real stack, against a real PostgreSQL and a real key set.
#![expect(clippy::unwrap_used, reason = "a test fails where it can't go on")]
#![expect(clippy::disallowed_methods, reason = "a test reads what we answered")]

// What stands around the service.
mod database;
mod issuer;
mod service;
mod settings;

// What it does.
mod abandoned;
mod backups;
mod bodies;
mod calls;
mod command_line;
mod conditional;
mod described;
mod dialects;
mod fair;
mod faults;
mod hostile;
mod identity;
mod imports;
mod isolation;
mod lists;
mod migrations;
mod model;
mod moments;
mod neon;
mod outages;
mod owners;
mod pages;
mod poolers;
mod repeats;
mod roles;
mod routes;
mod shapes;
mod tags;
