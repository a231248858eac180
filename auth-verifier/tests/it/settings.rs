//! Whatever passes the check serves.

use auth_verifier::{
    settings::{Plan, Settings},
    transport::http::stack,
};
use chassis::settings::arbitrary;
use tokio::runtime::Runtime;

use crate::world::SECRET;

#[test]
fn whatever_settings_are_loaded_a_request_is_answered() {
    let runtime = Runtime::new().unwrap();
    let needed = [("BETTER_AUTH_SECRET", SECRET), ("BETTER_AUTH_URL", "http://127.0.0.1:1")];
    arbitrary::each_that_loads::<Settings>(&needed, |plan: Plan| {
        let _context = runtime.enter();
        let verifier = plan.verifier();
        let requests = [
            "GET /verify HTTP/1.1\r\nHost: a.test\r\nCookie: better-auth.session_token=x.y",
            "GET /verify HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer e30.e30.e30",
            "GET /.well-known/jwks.json HTTP/1.1\r\nHost: a.test",
        ];
        let settings = plan.settings();
        runtime.block_on(arbitrary::answers(
            stack(verifier, settings.errors_as),
            &settings.server,
            &requests,
        ));
    });
}
