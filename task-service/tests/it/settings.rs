//! Whatever passes the check serves.

use chassis::settings::arbitrary;
use task_service::{settings::Settings, stack, store::Store, trust::Trust};
use tokio::runtime::Runtime;

#[test]
fn whatever_settings_are_loaded_a_request_is_answered() {
    let runtime = Runtime::new().unwrap();
    let needed = [
        ("DATABASE_URL", "postgresql://u:p@127.0.0.1:1/tasks"),
        ("TASK_SERVICE_IDENTITY_JWKS_URL", "http://127.0.0.1:1/jwks"),
    ];
    arbitrary::each_that_loads::<Settings>(&needed, |settings: Settings| {
        let _context = runtime.enter();
        let trust = Trust::new(&settings.identity_jwks_url, &settings.identity.audience);
        let store = Store::new(&settings).expect("what was checked can be built");
        let service = stack(trust, store, settings.limits.clone());
        let requests = [
            "GET /api/tasks HTTP/1.1\r\nHost: a.test",
            "GET /api/tasks HTTP/1.1\r\nHost: a.test\r\nx-user-id: ada\r\nx-identity-assertion: e30.e30.e30",
        ];
        runtime.block_on(arbitrary::answers(service, &settings.server, &requests));
    });
}
