//! Two auth-verifiers, one replaced after the other while people work: what changes costs no request, and what goes wrong
//! signs nobody out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use auth_verifier::{
    diagnostics::dev_token,
    session::token::{SessionToken, SigningKey},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dev_better_auth::{BetterAuth, Person};
use dev_postgres::test::{self, TestDatabase};
use http::Request;
use serde_json::{Value, json};
use tokio::{
    sync::RwLock,
    task::{JoinSet, block_in_place, spawn_blocking},
    time::{Instant, sleep},
};

use crate::{
    balancer::{Balancer, Turns},
    better_auth::start,
    world::{Client, PATIENCE, SECRET as OLD, Service},
};

const NEW: &str = "NewSecretOfBetterAuth0123456789abcdefgh";
const SEEDS: [&str; 3] = [
    "FirstSeedOfTheIdentity0123456789abcdefg",
    "SecondSeedOfTheIdentity0123456789abcdef",
    "ThirdSeedOfTheIdentity0123456789abcdefg",
];

/// How many work at once, and how many requests are answered between two changes.
const WORKERS: usize = 6;
const BETWEEN: usize = 40;

/// Between an answer and the next request of the same one.
const BREATH: Duration = Duration::from_millis(2);

type Variables<'a> = &'a [(&'a str, &'a str)];

/// Two auth-verifiers behind one address, and all who ask there.
struct Deployment<'a> {
    better_auth: &'a BetterAuth,
    balancer: Balancer,
    verifiers: Vec<Service>,
    tasks: Service,
    gateway: Service,
    client: Client,
    _database: TestDatabase,
}

impl<'a> Deployment<'a> {
    async fn start(better_auth: &'a BetterAuth, turns: Turns, verifiers: Variables<'_>) -> Option<Self> {
        let database = spawn_blocking(test::database).await.unwrap()?;
        let (client, balancer) = (Client::new(), Balancer::start(turns).await);
        let mut started = Vec::new();
        for _ in 0..2 {
            let verifier = verifier(better_auth, verifiers);
            verifier.ready(&client).await;
            balancer.add(verifier.traffic);
            started.push(verifier);
        }
        let jwks = format!("{}/.well-known/jwks.json", balancer.url());
        let url = database.url();
        let tasks = [("DATABASE_URL", &*url), ("TASK_SERVICE_IDENTITY_JWKS_URL", &jwks)];
        let tasks = Service::start("task-service", &tasks);
        let gateway = [
            ("GATEWAY_AUTH_VERIFIER_URL", &*balancer.url()),
            ("GATEWAY_TASK_SERVICE_URL", &tasks.url()),
            ("GATEWAY_VERIFIER__CONNECT_MS", "20000"),
            ("GATEWAY_VERIFIER__TIMEOUT_MS", "20000"),
        ];
        let gateway = Service::start("gateway", &gateway);
        for service in [&tasks, &gateway] {
            service.ready(&client).await;
        }
        let verifiers = started;
        Some(Self { better_auth, balancer, verifiers, tasks, gateway, client, _database: database })
    }

    /// Ends one as an orchestrator does, which gives it no more turns first, and starts one that is set so.
    async fn replace(&mut self, place: usize, variables: Variables<'_>) {
        let old = self.verifiers.remove(place);
        self.balancer.remove(old.traffic);
        assert!(block_in_place(|| old.terminate()).success());
        let new = verifier(self.better_auth, variables);
        new.ready(&self.client).await;
        self.balancer.add(new.traffic);
        self.verifiers.insert(place, new);
    }

    /// Replaces one after the other, and sees to it that there is work before, between and after.
    async fn roll(&mut self, traffic: &Traffic, variables: Variables<'_>) {
        for place in 0..2 {
            self.replace(place, variables).await;
            traffic.more(BETWEEN).await;
        }
    }
}

fn verifier(better_auth: &BetterAuth, variables: Variables<'_>) -> Service {
    let database = better_auth.database_url();
    let common = [
        ("BETTER_AUTH_URL", &*better_auth.url),
        ("AUTH_VERIFIER_DATABASE__URL", &database),
        // A slow machine is not what is tested here.
        ("AUTH_VERIFIER_SESSION__TIMEOUT_MS", "20000"),
        ("AUTH_VERIFIER_DATABASE__ACQUIRE_TIMEOUT_MS", "20000"),
        ("AUTH_VERIFIER_DATABASE__CONNECT_MS", "20000"),
        ("AUTH_VERIFIER_DATABASE__QUERY_MS", "20000"),
        ("AUTH_VERIFIER_JWKS__TIMEOUT_MS", "20000"),
    ];
    Service::start("auth-verifier", &[&common, variables].concat())
}

/// A header that says who somebody is.
type Credential = (&'static str, String);

/// People at work.
struct Traffic {
    work: Arc<Work>,
    _workers: JoinSet<()>,
}

/// What they show, and what they were answered.
struct Work {
    credentials: RwLock<Vec<Credential>>,
    answered: AtomicUsize,
    told: Mutex<BTreeMap<u16, usize>>,
    /// What those were told that were not served.
    refusals: Mutex<Vec<String>>,
}

impl Work {
    async fn go_on(&self, client: &Client, url: &str, first: usize) {
        for turn in first.. {
            // Held until the answer is there, so that whoever changes them knows that nobody uses the old ones.
            let credentials = self.credentials.read().await;
            let (name, value) = &credentials[turn % credentials.len()];
            let request = Request::get(url).header("origin", "http://localhost:3000").header(*name, value);
            let answer = client.call(request, None).await;
            *self.told.lock().unwrap().entry(answer.status.as_u16()).or_default() += 1;
            if answer.status != 200 {
                let retry = answer.headers.get("retry-after");
                let text = format!("{} {name} {retry:?} {}", answer.status, answer.body);
                self.refusals.lock().unwrap().push(text);
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
            drop(credentials);
            sleep(BREATH).await;
        }
    }
}

impl Traffic {
    fn start(deployment: &Deployment<'_>, credentials: Vec<Credential>) -> Self {
        let work = Arc::new(Work {
            credentials: RwLock::new(credentials),
            answered: AtomicUsize::default(),
            told: Mutex::default(),
            refusals: Mutex::default(),
        });
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (work, client) = (work.clone(), deployment.client.clone());
            let url = format!("{}/api/tasks", deployment.gateway.url());
            workers.spawn(async move { work.go_on(&client, &url, worker).await });
        }
        Self { work, _workers: workers }
    }

    /// Waits until so many more were answered.
    async fn more(&self, count: usize) {
        let (from, deadline) = (self.work.answered.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.work.answered.load(Ordering::Relaxed) < from + count {
            assert!(Instant::now() < deadline, "requests are answered");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// From now on they show these.
    async fn show(&self, credentials: Vec<Credential>) {
        *self.work.credentials.write().await = credentials;
    }

    /// How many were answered how, since this was last asked.
    fn told(&self) -> BTreeMap<u16, usize> {
        std::mem::take(&mut self.work.told.lock().unwrap())
    }

    #[track_caller]
    fn all_were_served(&self, when: &str) {
        let told = self.told();
        let refusal = self.work.refusals.lock().unwrap().first().cloned();
        assert!(told.keys().eq([&200]), "{when}: {told:?} {refusal:?}");
    }

    /// Whoever was not served was told when to come again.
    #[track_caller]
    fn nobody_was_signed_out(&self, when: &str) -> BTreeMap<u16, usize> {
        let told = self.told();
        let refusals = self.work.refusals.lock().unwrap().clone();
        assert!(told.keys().all(|status| [200, 503].contains(status)), "{when}: {told:?} {refusals:?}");
        let without = refusals.iter().find(|refusal| !refusal.contains("Some(\""));
        assert_eq!(without, None, "{when}: without Retry-After");
        told
    }
}

/// What Ada may show: a token that Better Auth's own key signs, and what a secret signs.
fn credentials(ada: &Person, secret: &str) -> Vec<Credential> {
    let signed = SigningKey::new(secret).sign(&SessionToken::bare(ada.token()).unwrap());
    let shared = dev_token::mint(secret, &ada.id, PATIENCE * 10);
    vec![
        ("authorization", format!("Bearer {}", ada.jwt)),
        ("cookie", format!("better-auth.session_token={signed}")),
        ("authorization", format!("Bearer {signed}")),
        ("authorization", format!("Bearer {shared}")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_changed_as_documented_costs_no_request() {
    for turns in [Turns::Requests, Turns::Connections] {
        let Some(better_auth) = start(json!({})).await else { return };
        let ada = better_auth.sign_up("ada").await;
        let both = format!("2:{NEW},1:{OLD}");
        let until = ("AUTH_VERIFIER_BETTER_AUTH__OLD_SECRETS_UNTIL", "2100-01-31T00:00:00Z");
        let before = [("BETTER_AUTH_SECRET", OLD)];
        let between = [("BETTER_AUTH_SECRETS", &*both), until];
        // The single one was left where it stood.
        let between_with_single = [("BETTER_AUTH_SECRETS", &*format!("2:{NEW}")), before[0], until];
        let after = [("BETTER_AUTH_SECRET", NEW), ("AUTH_VERIFIER_IDENTITY__PREVIOUS_SEED", OLD)];
        let at_last = [("BETTER_AUTH_SECRET", NEW)];

        let Some(mut deployment) = Deployment::start(&better_auth, turns, &before).await else { return };
        let traffic = Traffic::start(&deployment, credentials(&ada, OLD));
        traffic.more(BETWEEN).await;
        traffic.all_were_served(&format!("{turns:?}, before"));

        deployment.roll(&traffic, &between).await;
        traffic.all_were_served("the new one is rolled out");
        deployment.roll(&traffic, &before).await;
        traffic.all_were_served("it is rolled back");
        deployment.roll(&traffic, &between_with_single).await;
        traffic.all_were_served("it is rolled out again, the other way");

        traffic.show(credentials(&ada, NEW)).await;
        deployment.roll(&traffic, &after).await;
        traffic.all_were_served("the old one is taken away");
        deployment.roll(&traffic, &between).await;
        traffic.all_were_served("and put back");
        deployment.roll(&traffic, &after).await;
        traffic.all_were_served("and taken away again");
        deployment.roll(&traffic, &at_last).await;
        traffic.all_were_served("its key is published no longer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_is_changed_as_documented_costs_no_request() {
    for turns in [Turns::Requests, Turns::Connections] {
        let Some(better_auth) = start(json!({})).await else { return };
        let ada = better_auth.sign_up("ada").await;
        let set = |seed, further| {
            let seed = [("BETTER_AUTH_SECRET", OLD), ("AUTH_VERIFIER_IDENTITY__SEED", seed)];
            seed.into_iter().chain(further).collect::<Vec<_>>()
        };
        let [first, second, _] = SEEDS;
        let before = set(first, None);
        let announced = set(first, Some(("AUTH_VERIFIER_IDENTITY__NEXT_SEED", second)));
        let changed = set(second, Some(("AUTH_VERIFIER_IDENTITY__PREVIOUS_SEED", first)));
        let at_last = set(second, None);

        let Some(mut deployment) = Deployment::start(&better_auth, turns, &before).await else { return };
        let traffic = Traffic::start(&deployment, credentials(&ada, OLD));
        for (when, variables) in [
            ("announced", &announced),
            ("changed", &changed),
            ("rolled back", &announced),
            ("changed again", &changed),
            ("at last", &at_last),
        ] {
            deployment.roll(&traffic, variables).await;
            traffic.all_were_served(&format!("{turns:?}, {when}"));
        }
    }
}

/// Where identities were signed by Better Auth's secret, and shall be by a seed of their own; after which a change of the secret is
/// nothing to them.
#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_takes_the_secrets_place_costs_no_request() {
    let Some(better_auth) = start(json!({})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let [seed, ..] = SEEDS;
    let (secret, own) = (("BETTER_AUTH_SECRET", OLD), ("AUTH_VERIFIER_IDENTITY__SEED", seed));
    let both = format!("2:{NEW},1:{OLD}");
    let until = ("AUTH_VERIFIER_BETTER_AUTH__OLD_SECRETS_UNTIL", "2100-01-31T00:00:00Z");

    let Some(mut deployment) = Deployment::start(&better_auth, Turns::Requests, &[secret]).await else {
        return;
    };
    let traffic = Traffic::start(&deployment, credentials(&ada, OLD));
    for (when, variables) in [
        ("announced", &[secret, ("AUTH_VERIFIER_IDENTITY__NEXT_SEED", seed)][..]),
        ("in its place", &[secret, own, ("AUTH_VERIFIER_IDENTITY__PREVIOUS_SEED", OLD)]),
        ("by itself", &[secret, own]),
        ("a new secret is rolled out", &[("BETTER_AUTH_SECRETS", &*both), until, own]),
    ] {
        deployment.roll(&traffic, variables).await;
        traffic.all_were_served(when);
    }
    traffic.show(credentials(&ada, NEW)).await;
    deployment.roll(&traffic, &[("BETTER_AUTH_SECRET", NEW), own]).await;
    traffic.all_were_served("the old secret is taken away");
}

/// The SQL that auth-verifier prints, for a role of another name.
async fn granted(admin: &tokio_postgres::Client, role: &str) {
    let mut grants = std::process::Command::new(env!("CARGO_BIN_EXE_usher"));
    grants.args(["auth-verifier", "grants", "--role", role]).env_clear().env("BETTER_AUTH_SECRET", OLD);
    let grants = block_in_place(|| grants.env("BETTER_AUTH_URL", "http://localhost:3000").output()).unwrap();
    admin.batch_execute(&String::from_utf8(grants.stdout).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_reads_better_auths_tables_is_replaced_as_documented() {
    let Some(better_auth) = start(json!({})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let url = better_auth.database_url();
    let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = url.rsplit('/').next().unwrap();
    let [first, second] = ["first", "second"].map(|role| format!("{role}_of_{name}"));
    let at = |role: &str| url.replace("postgres@", &format!("{role}@"));
    let (before, after) = (at(&first), at(&second));
    assert_ne!(before, after, "another role");
    // Each request looks the session up.
    let set = |url| {
        [
            ("BETTER_AUTH_SECRET", OLD),
            ("AUTH_VERIFIER_DATABASE__URL", url),
            ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0"),
        ]
    };

    granted(&admin, &first).await;
    let Some(mut deployment) = Deployment::start(&better_auth, Turns::Requests, &set(&*before)).await else {
        return;
    };
    let traffic = Traffic::start(&deployment, credentials(&ada, OLD));
    traffic.more(BETWEEN).await;
    traffic.all_were_served("before");
    granted(&admin, &second).await;
    deployment.roll(&traffic, &set(&after)).await;
    traffic.all_were_served("the second is rolled out");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/secrets.md");
    let page = std::fs::read_to_string(page).unwrap();
    let farewell = page.split("```sql\n").find(|block| block.starts_with("grant auth_verifier to")).unwrap();
    let farewell = farewell.split("```").next().unwrap().replace("auth_verifier", &first);
    admin.batch_execute(&farewell).await.unwrap();
    traffic.more(BETWEEN).await;
    traffic.all_were_served("the first is gone");
    drop(traffic);
    drop(deployment);
    admin.batch_execute(&format!("drop owned by {second}; drop role {second}")).await.unwrap();
}

/// An assertion, but for the name of its key.
fn renamed(assertion: &str, kid: &str) -> String {
    let (header, rest) = assertion.split_once('.').unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap();
    let mut header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"] = json!(kid);
    format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_announced_signs_nobody_out() {
    let Some(better_auth) = start(json!({})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    let set = |seed| [("BETTER_AUTH_SECRET", OLD), ("AUTH_VERIFIER_IDENTITY__SEED", seed)];
    let [first, second, third] = SEEDS;
    let Some(mut deployment) = Deployment::start(&better_auth, Turns::Requests, &set(first)).await else {
        return;
    };
    let traffic = Traffic::start(&deployment, credentials(&ada, OLD));
    traffic.more(BETWEEN).await;
    traffic.all_were_served("before");

    // Somebody inside makes up names of keys, so that no fetch is left for the one that comes.
    let verdict = Request::get(format!("{}/verify", deployment.verifiers[0].url()))
        .header("authorization", format!("Bearer {}", ada.jwt));
    let verdict = deployment.client.call(verdict, None).await;
    let assertion = verdict.headers["x-identity-assertion"].to_str().unwrap();
    for kid in ["made", "up", "by", "somebody"] {
        let request = Request::get(format!("{}/api/tasks", deployment.tasks.url()))
            .header("x-user-id", &ada.id)
            .header("x-identity-assertion", renamed(assertion, kid));
        let status = deployment.client.call(request, None).await.status;
        assert!([401, 503].contains(&status.as_u16()), "{kid}: {status}");
    }
    traffic.more(BETWEEN).await;
    traffic.all_were_served("whose key is known needs no fetch");

    for seed in [second, third] {
        deployment.roll(&traffic, &set(seed)).await;
    }
    let told = traffic.nobody_was_signed_out("three seeds");
    assert!(told.contains_key(&503), "the new keys could not be known: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_changed_any_other_way_signs_nobody_out() {
    let Some(better_auth) = start(json!({})).await else { return };
    let ada = better_auth.sign_up("ada").await;
    // What the secret itself has signed is good no longer, and what Better Auth's own key has is.
    let jwt = ("authorization", format!("Bearer {}", ada.jwt));
    let both = format!("2:{NEW},1:{OLD}");
    let (old, new) = ([("BETTER_AUTH_SECRET", OLD)], [("BETTER_AUTH_SECRET", NEW)]);
    for (when, before, after) in [
        ("without a list", &old, &new),
        ("the old one taken away without its key", &[("BETTER_AUTH_SECRETS", &*both)], &new),
    ] {
        let Some(mut deployment) = Deployment::start(&better_auth, Turns::Requests, before).await else {
            return;
        };
        let traffic = Traffic::start(&deployment, vec![jwt.clone()]);
        traffic.more(BETWEEN).await;
        traffic.all_were_served("before");
        deployment.roll(&traffic, after).await;
        deployment.roll(&traffic, before).await;
        traffic.nobody_was_signed_out(when);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auth_verifier_that_crashes_signs_nobody_out() {
    for turns in [Turns::Requests, Turns::Connections] {
        let Some(better_auth) = start(json!({})).await else { return };
        let ada = better_auth.sign_up("ada").await;
        let set = [("BETTER_AUTH_SECRET", OLD)];
        let Some(mut deployment) = Deployment::start(&better_auth, turns, &set).await else { return };
        let traffic = Traffic::start(&deployment, credentials(&ada, OLD));
        traffic.more(BETWEEN).await;
        deployment.verifiers[0].kill();
        traffic.more(BETWEEN).await;
        // The balancer has noticed, and whoever was on the way has been answered.
        deployment.balancer.remove(deployment.verifiers[0].traffic);
        traffic.show(credentials(&ada, OLD)).await;
        traffic.nobody_was_signed_out("one has crashed");
        traffic.more(BETWEEN).await;
        traffic.all_were_served("the other one serves");
    }
}
