//! Whatever passes the check serves.

use chassis::settings::arbitrary;
use gateway::{counts::Counts, plan::Plan, settings::Settings, stack::stack};
use tokio::runtime::Runtime;

#[test]
fn whatever_settings_are_loaded_a_request_is_answered() {
    let runtime = Runtime::new().unwrap();
    let nobody = [
        ("GATEWAY_AUTH_VERIFIER_URL", "http://127.0.0.1:1"),
        ("GATEWAY_TASK_SERVICE_URL", "http://127.0.0.1:1"),
    ];
    arbitrary::each_that_loads::<Settings>(&nobody, |plan: Plan| {
        let requests = [
            "GET /health HTTP/1.1\r\nHost: a.test",
            "GET /api/tasks HTTP/1.1\r\nHost: a.test\r\nOrigin: http://a.test\r\nCookie: better-auth.session_token=x",
        ];
        let _entered = runtime.enter();
        let stack = stack(&plan, &Counts::default());
        runtime.block_on(arbitrary::answers(stack, &plan.server, &requests));
    });
}
