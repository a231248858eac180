//! A task-service of one's own, and how to speak to it.

use std::{sync::Arc, thread, time::Duration};

use bytes::Bytes;
use chassis::{
    Body,
    serve::{HttpService, Stack},
    settings::{self, Switch},
};
use dev_postgres::test::TestDatabase;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use identity::Verifier;
use serde_json::Value;
use task_service::{
    settings::{Plan, Settings},
    stack,
    store::Store,
};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::{
    database::owners_url,
    issuer::{Issuer, claims},
};

/// A slow machine's patience: a bound, never an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Service {
    stack: Stack,
    pub store: Store,
    pub issuer: Issuer,
    pub database: Option<TestDatabase>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The plan for a database, with other settings by their variables.
pub fn settings(url: &str, others: &[(&str, &str)]) -> Plan {
    // Bounds that no slow machine reaches by itself.
    let patient = [
        ("TASK_SERVICE_DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
        ("TASK_SERVICE_DATABASE__QUERY_MS", "60000"),
    ];
    let variables = patient.iter().chain(others).copied().chain([("DATABASE_URL", url)]);
    settings::load::<Settings>(&variables.collect()).unwrap()
}

/// A service with a database of its own, ready, whose role is bound by row-level security.
pub async fn start() -> Option<Service> {
    start_with(&[]).await
}

/// The same, with other settings by their variables.
pub async fn start_with(others: &[(&str, &str)]) -> Option<Service> {
    let database = dev_postgres::test::database()?;
    let mut service = start_at(&settings(&owners_url(&database).await, others)).await;
    service.database = Some(database);
    service.store.prepare(Switch::On).await.unwrap();
    Some(service)
}

/// A service with a database that may not be there.
pub async fn start_at(plan: &Plan) -> Service {
    let issuer = Issuer::start().await;
    let verifier = Verifier::new(&issuer.url, &plan.audience);
    tokio::spawn(verifier.clone().keep_fresh());
    eventually("the keys are there", async || verifier.is_ready()).await;
    let store = Store::new(plan.store.clone());
    let stack = boxed(verifier, &store, plan);
    Service { stack, store, issuer, database: None }
}

/// A service that has never seen a key.
pub async fn start_without_keys(plan: &Plan) -> Service {
    let issuer = Issuer::start().await;
    issuer.set_up(false);
    let verifier = Verifier::new(&issuer.url, &plan.audience);
    let store = Store::new(plan.store.clone());
    let stack = boxed(verifier, &store, plan);
    Service { stack, store, issuer, database: None }
}

fn boxed(verifier: Arc<Verifier>, store: &Store, plan: &Plan) -> Stack {
    // On a thread of its own: what is made once, at the start, may take more of a stack than a request does.
    let built = thread::scope(|scope| {
        scope.spawn(|| Stack::new(stack(verifier, store.clone(), plan.body, plan.answers))).join()
    });
    built.unwrap()
}

/// Has the service sweep, which its first write makes it do beside everything else: what follows has the connections to itself.
pub async fn swept(service: &Service, admin: &Client) {
    let nowhere = "DELETE /api/tasks/0190b3a4-0000-7000-8000-000000000000";
    service.call("nobody", nowhere).await.problem(404, "not-found");
    let swept = "select count(*) from pg_stat_activity
        where application_name = 'task-service' and datname = current_database() and state = 'idle'
            and query like '%answers.sweep%'";
    eventually("it has swept", async || admin.query_one(swept, &[]).await.unwrap().get::<_, i64>(0) > 0)
        .await;
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A request as the gateway would send it, less the proof: `GET /api/tasks`.
pub fn request(line: &str) -> http::request::Builder {
    let (method, path) = line.split_once(' ').unwrap();
    Request::builder().method(method).uri(path)
}

impl Service {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.stack.call(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request, and reads nothing of its answer.
    pub async fn open(&self, request: Request<Body>) -> http::Response<Body> {
        self.stack.call(request).await
    }

    /// A request that proves it comes from `user`.
    pub fn request(&self, user: &str, line: &str) -> http::request::Builder {
        request(line)
            .header(identity::USER_ID, user)
            .header(identity::ASSERTION, self.issuer.key.sign(&claims(user)))
    }

    /// Sends a request of `user` without a body.
    pub async fn call(&self, user: &str, line: &str) -> Answer {
        self.send(self.request(user, line).body(Body::empty()).unwrap()).await
    }

    /// Sends a request of `user` with JSON.
    pub async fn call_with(&self, user: &str, line: &str, body: &Value) -> Answer {
        let request = self.request(user, line).header("content-type", "application/json");
        self.send(request.body(body.to_string().into()).unwrap()).await
    }

    /// A new task of `user`.
    pub async fn create(&self, user: &str, body: &Value) -> Value {
        let answer = self.call_with(user, "POST /api/tasks", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// All tasks of `user`, newest first.
    pub async fn list(&self, user: &str) -> Vec<Value> {
        let answer = self.call(user, "GET /api/tasks").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json().as_array().unwrap().clone()
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The problem that it tells of, less the id of the request.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        match (code, self.header("x-internal-not-applied")) {
            ("identity-unavailable" | "database-read-only", said) => assert_eq!(said, Some("true"), "{code}"),
            ("database-unavailable", said) => assert!(said.is_none_or(|said| said == "true"), "{said:?}"),
            (_, said) => assert_eq!(said, None, "{code}: what is not certain is not said"),
        }
        let mut problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["type"], format!("urn:usher:problem:{code}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        let id = problem.as_object_mut().unwrap().remove("request_id").unwrap();
        assert_eq!(self.header("x-request-id"), id.as_str());
        problem
    }
}
