//! The gateway in front of a verifier and a service that say and do as they are told, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that breaks should say where")]
#![expect(clippy::disallowed_methods, reason = "a test reads what we answered")]

mod access_line;
mod accounts;
mod authentication;
mod compression;
mod cors;
mod errors;
mod faults;
mod forwarding;
mod front_door;
mod hardening;
mod http2;
mod identity;
mod life;
mod limits;
mod neon_auth;
mod order;
mod pace;
mod permits;
mod rates;
mod reload;
mod routes;
mod routing;
mod settings;
mod shares;
mod stale;
mod streaming;
mod tls;
mod traces;
mod verdict_cache;
mod verifiers;
mod websocket;
mod world;
