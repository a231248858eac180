//! Better Auth itself is the judge: real servers of 1.4, 1.6 and 1.7 make credentials, and for each of them, good,
//! ended or changed, our verdict is theirs. Where it is not, on purpose, [`deviations`] says why; any other difference
//! fails.
//!
//! |    | credential                                        | where            | in 1.4 | 1.6 | 1.7 | after sign-out |
//! |----|---------------------------------------------------|------------------|--------|-----|-----|----------------|
//! | A  | API token, EdDSA, ES256, ES512, RS256, PS256      | bearer           | yes    | yes | yes | lives          |
//! | A  | API token, Ed25519, ES384, RS384/512, PS384/512   | bearer           | -      | -   | yes | lives          |
//! | A' | API token signed by the application, HS256        | bearer           | yes    | yes | yes | lives          |
//! | B  | session cookie: plain, `__Secure-`, other prefix  | cookie           | yes    | yes | yes | ends           |
//! | C  | session token, signed                             | bearer           | yes    | yes | yes | ends           |
//! | C  | session token, bare                               | bearer           | yes    | yes | yes | ends           |
//! | D1 | cookie cache `compact`, whole and in pieces       | cookie, beside B | yes    | yes | yes | lives          |
//! | D2 | cookie cache `jwt`                                | cookie, beside B | yes    | yes | yes | lives          |
//! | D3 | cookie cache `jwt`, signed with the keys          | cookie, beside B | -      | -   | yes | lives          |
//! | D4 | cookie cache `jwe`                                | cookie, beside B | yes    | yes | yes | lives          |
//! | E  | OAuth access token, JWT                           | bearer           | -      | -   | yes | lives          |
//! | F  | OAuth access token, opaque                        | bearer           | -      | -   | yes | ends           |
//! | -  | whatever else carries a signature                 | everywhere       | no     | no  | no  |                |
//!
//! An A or E ends with its session where `AUTH_VERIFIER_JWT__REVOCATION` asks for it; Better Auth's introspection
//! always ends an E.

#![expect(clippy::unwrap_used, reason = "a test that breaks should say where")]

mod deviations;
mod mutations;
mod pair;

mod rows;

mod cache;
mod causes;
mod grants;
mod headers;
mod limits;
mod lives;
mod oauth;
mod others;
mod schemas;
mod secrets;
mod tokens;
