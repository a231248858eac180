//! Whatever passes the check serves.

use chassis::settings::arbitrary;
use identity::Verifier;
use task_service::{
    settings::{Plan, Settings},
    stack,
    store::Store,
};
use tokio::runtime::Runtime;

#[test]
fn whatever_settings_are_loaded_a_request_is_answered() {
    let runtime = Runtime::new().unwrap();
    let needed = [
        ("DATABASE_URL", "postgresql://u:p@127.0.0.1:1/tasks"),
        ("TASK_SERVICE_IDENTITY_JWKS_URL", "http://127.0.0.1:1/jwks"),
    ];
    arbitrary::each_that_loads::<Settings>(&needed, |plan: Plan| {
        let _context = runtime.enter();
        let verifier = Verifier::new(&plan.jwks_url, &plan.audience);
        let service = stack(verifier, Store::new(plan.store), plan.body, plan.answers);
        let requests = [
            "GET /api/tasks HTTP/1.1\r\nHost: a.test",
            "GET /api/tasks HTTP/1.1\r\nHost: a.test\r\nx-user-id: ada\r\nx-identity-assertion: e30.e30.e30",
        ];
        runtime.block_on(arbitrary::answers(service, &plan.server, &requests));
    });
}
