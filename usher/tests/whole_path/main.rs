//! The whole path over sockets: gateway, auth-verifier and task-service as processes, PostgreSQL, and a real
//! Better Auth where it has a say.

#![expect(clippy::unwrap_used, reason = "a test that breaks should say where")]
#![expect(clippy::disallowed_methods, reason = "a test reads what we answered")]

mod attacks;
mod balancer;
mod better_auth;
mod cookies;
mod doctor;
mod dotenv;
mod faults;
mod faults_database;
mod faults_gateways;
mod faults_names;
mod frontends;
mod isolation;
mod one_origin;
mod proxies;
mod roles;
mod rollout;
mod secrets;
mod sessions;
mod settings;
mod tasks;
mod traces;
mod traffic;
mod world;
