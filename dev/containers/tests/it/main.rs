//! The images, and the compose file, on a real engine.

#![expect(clippy::unwrap_used, reason = "a test that breaks should say where")]
#![expect(clippy::print_stdout, reason = "what is only counted is told")]

mod compose;
mod features;
mod images;
mod world;
