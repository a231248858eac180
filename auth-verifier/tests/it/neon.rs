//! Neon Auth: its tokens, its session cookies, the cache of Neon's SDK, and both authorities side by side.
//!
//! A stand-in plays Neon: it knows sessions by their whole cookie, as only Neon can check a signature. What it answers was recorded
//! from a real Better Auth set up as Neon's is, behind the real SDK (`tests/vectors/neon-auth.json`).

mod both;
mod bounds;
mod cookies;
mod doctor;
mod members;
mod session_data;
mod settings;
mod stand_in;
mod tables;
mod tokens;
