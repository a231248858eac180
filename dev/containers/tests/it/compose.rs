//! The compose file at work: what is asked through its one published port, and what becomes of it when containers come and go.
//!
//! Not every fault is hidden from who asks. What is, is asserted; the rest is counted and printed.

use std::{fs, io, net::SocketAddr, thread};

use dev_containers::{
    deployment::{Deployment, SECRET, shows, wait_until_all_answer},
    engine::{docker, inspect},
    http::{self, Connection, request},
    traffic::{Told, Traffic, WORKERS},
    wait_until,
};

use crate::world::{SERVICES, VERSION, built, turn};

/// What the README asks for.
fn env() -> String {
    format!("BETTER_AUTH_SECRET={SECRET}\nBETTER_AUTH_URL=http://localhost:3000\n")
}

fn start(scale: &[&str]) -> Deployment {
    Deployment::start(built(), VERSION, &["compose.yaml"], &env(), scale)
}

/// Between two changes.
const REQUESTS_BETWEEN: usize = 600;

/// How often is read while a replica hangs. All of it takes less time than an answer may (`upstream.timeout_secs`).
const READS_MEANWHILE: usize = 50;

fn ask(gateway: SocketAddr, request: &str) -> http::Answer {
    http::ask(gateway, request).unwrap()
}

/// The engine's DNS names a replica before it is ready, and for a while after it has gone: the gateway hides that.
#[track_caller]
fn all_were_served(told: &Told) {
    assert_eq!(told.outcomes().count(), 0, "{told}");
}

/// Reads are served by another replica. A write that was on its way to one that is gone may have been done: its client is told 502,
/// and each has one on its way at most.
#[track_caller]
fn all_were_served_but_writes_on_their_way(told: &Told) {
    assert_eq!(told.failures(&["GET"]), 0, "{told}");
    assert!(told.outcomes().all(|outcome| outcome == "502"), "{told}");
    assert!(told.failures(&["POST", "PUT"]) <= WORKERS, "{told}");
}

fn report(what: &str, told: &Told) {
    println!("{what}: {told}");
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn a_first_start_serves_what_the_readme_shows_and_its_tasks_are_kept() {
    let _turn = turn();
    let deployment = start(&[]);
    let gateway = deployment.gateway(1);
    assert_eq!(gateway.to_string(), "127.0.0.1:8000");
    let token = deployment.token("ada");

    assert_eq!(ask(gateway, &request("GET", "/health", "", "")).body, r#"{"status":"healthy"}"#);
    assert_eq!(ask(gateway, &request("GET", "/api/tasks", "", "")).status, 401);
    let made = ask(gateway, &request("POST", "/api/tasks", &token, r#"{"title":"Buy milk"}"#));
    assert_eq!(made.status, 201, "{}", made.body);
    let list = request("GET", "/api/tasks", &token, "");
    assert!(ask(gateway, &list).body.contains("Buy milk"));
    let others = request("GET", "/api/tasks", &deployment.token("bob"), "");
    assert_eq!(ask(gateway, &others).body, "[]");

    for service in SERVICES {
        let [replica] = &deployment.replicas(service)[..] else { panic!("one {service}") };
        let is = |format: &str| inspect(&replica.id, format);
        assert_eq!(is("{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}"), "65532:65532 true");
        assert_eq!(
            is("{{json .HostConfig.CapDrop}} {{json .HostConfig.SecurityOpt}}"),
            r#"["ALL"] ["no-new-privileges:true"]"#
        );
        assert_eq!(is("{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}}"), "1024 1073741824", "{service}");
        assert_eq!(is("{{index .HostConfig.LogConfig.Config \"max-size\"}}"), "10m");
        assert_eq!(is("{{.State.Health.Status}}"), "healthy");
        assert_eq!(is("{{len .HostConfig.PortBindings}}"), if service == "gateway" { "1" } else { "0" });
    }
    let networks = |service: &str| {
        let format = "{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{end}}";
        inspect(&deployment.replicas(service)[0].id, format)
    };
    assert_eq!(networks("postgres"), "usher-test_database");
    for (service, reaches_it) in [("gateway", false), ("auth-verifier", false), ("task-service", true)] {
        assert_eq!(networks(service).contains("database"), reaches_it, "{service}: {}", networks(service));
    }
    for line in docker(["stats", "--no-stream", "--format", "{{.Name}}: {{.MemUsage}}"]).lines() {
        println!("{line}");
    }

    deployment.compose(["down"]);
    deployment.up(&[]);
    let token = deployment.token("ada");
    assert!(
        ask(gateway, &request("GET", "/api/tasks", &token, "")).body.contains("Buy milk"),
        "they are kept"
    );
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn secrets_come_from_files_and_the_engine_shows_none() {
    const PASSWORD: &str = "PlantedPasswordOfTheDatabase";
    let _turn = turn();
    let checkout = built();
    let secrets = checkout.folder().join("deploy/secrets");
    fs::create_dir_all(&secrets).unwrap();
    let url = format!("postgresql://tasks:{PASSWORD}@postgres:5432/tasks?sslmode=disable\n");
    for (name, text) in [
        ("better-auth-secret", format!("{SECRET}\n")),
        ("postgres-password", format!("{PASSWORD}\n")),
        ("database-url", url),
    ] {
        fs::write(secrets.join(name), text).unwrap();
    }
    let env = "BETTER_AUTH_URL=http://localhost:3000\n";
    let files = ["compose.yaml", "compose.secrets.yaml"];
    let deployment = Deployment::start(checkout, VERSION, &files, env, &[]);
    let token = deployment.token("ada");
    let made = ask(deployment.gateway(1), &request("POST", "/api/tasks", &token, r#"{"title":"Buy milk"}"#));
    assert_eq!(made.status, 201, "{}", made.body);

    let containers =
        SERVICES.into_iter().chain(["postgres"]).flat_map(|service| deployment.replicas(service));
    let containers: Vec<_> = containers.map(|replica| replica.id).collect();
    assert_eq!(containers.len(), 4);
    let images = SERVICES.map(crate::world::image);
    let all: Vec<&str> = containers.iter().chain(&images).map(String::as_str).collect();
    let histories = images.iter().map(|image| docker(["history", "--no-trunc", image])).collect::<String>();
    for secret in [SECRET, PASSWORD] {
        assert!(!shows(&all, secret), "docker inspect");
        assert!(!histories.contains(secret), "docker history");
        assert!(!deployment.logs().contains(secret), "docker logs");
    }
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn task_service_scales_and_the_loss_of_a_replica_costs_no_read() {
    let _turn = turn();
    let deployment = start(&[]);
    let traffic = Traffic::start(deployment.gateway(1), &deployment.token("ada"));
    deployment.up(&["task-service=3"]);
    let replicas = deployment.replicas("task-service");
    assert_eq!(replicas.len(), 3);
    println!("three task-services: all answer after {} ms", wait_until_all_answer(&replicas, 9002));
    traffic.more(REQUESTS_BETWEEN);
    let told = traffic.stop();
    report("task-service scaled to three", &told);
    all_were_served(&told);

    let traffic = Traffic::start(deployment.gateway(1), &deployment.token("ada"));
    replicas[0].kill();
    traffic.more(REQUESTS_BETWEEN * 2);
    let told = traffic.stop();
    report("one of three task-services killed", &told);
    all_were_served_but_writes_on_their_way(&told);

    let traffic = Traffic::start(deployment.gateway(1), &deployment.token("ada"));
    replicas[1].stop();
    traffic.more(REQUESTS_BETWEEN * 2);
    let told = traffic.stop();
    report("one of two task-services stopped", &told);
    all_were_served_but_writes_on_their_way(&told);
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn a_replica_of_task_service_that_hangs_costs_no_read() {
    let _turn = turn();
    let deployment = start(&["task-service=2"]);
    let (gateway, token) = (deployment.gateway(1), deployment.token("ada"));
    let traffic = Traffic::start(gateway, &token);
    wait_until_all_answer(&deployment.replicas("task-service"), 9002);
    let hung = &deployment.replicas("task-service")[0].id;
    docker(["kill", "--signal", "STOP", hung]);
    // Those at work wait soon, each for something that it changes; who only reads goes on.
    for _ in 0..READS_MEANWHILE {
        assert_eq!(ask(gateway, &request("GET", "/api/tasks", &token, "")).status, 200);
    }
    docker(["kill", "--signal", "CONT", hung]);
    let told = traffic.stop();
    report("one of two task-services hung", &told);
    // What changes something waits until it is answered.
    all_were_served(&told);
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn two_auth_verifiers_share_the_questions_and_one_may_end() {
    let _turn = turn();
    let deployment = start(&["auth-verifier=2"]);
    let token = deployment.token("ada");
    let traffic = Traffic::start(deployment.gateway(1), &token);
    let replicas = deployment.replicas("auth-verifier");
    println!("two auth-verifiers: both answer after {} ms", wait_until_all_answer(&replicas, 9001));
    for (what, end) in [("stopped", true), ("killed", false)] {
        let traffic = Traffic::start(deployment.gateway(1), &token);
        if end {
            replicas[0].stop();
        } else {
            replicas[1].kill();
        }
        traffic.more(REQUESTS_BETWEEN);
        if end {
            docker(["start", &replicas[0].id]);
            wait_until("it is healthy", || inspect(&replicas[0].id, "{{.State.Health.Status}}") == "healthy");
        }
        let told = traffic.stop();
        report(&format!("one of two auth-verifiers {what}"), &told);
        // To be asked who is calling changes nothing: another one is.
        all_were_served(&told);
    }
    drop(traffic.stop());
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn each_service_is_replaced_while_people_work() {
    let _turn = turn();
    let deployment = start(&["task-service=2", "auth-verifier=2"]);
    let token = deployment.token("ada");
    for service in ["task-service", "auth-verifier"] {
        let old = deployment.replicas(service);
        let traffic = Traffic::start(deployment.gateway(1), &token);
        deployment.replace(service);
        traffic.more(REQUESTS_BETWEEN);
        let told = traffic.stop();
        report(&format!("{service} replaced"), &told);
        let new = deployment.replicas(service);
        assert!(new.len() == old.len() && new.iter().all(|replica| !old.contains(replica)));
        match service {
            "auth-verifier" => all_were_served(&told),
            _ => all_were_served_but_writes_on_their_way(&told),
        }
    }
    // Nothing stands before the gateway here: while it is away, nobody listens.
    let traffic = Traffic::start(deployment.gateway(1), &token);
    deployment.compose([
        "up",
        "--detach",
        "--wait",
        "--no-build",
        "--no-deps",
        "--force-recreate",
        "gateway",
    ]);
    traffic.more(REQUESTS_BETWEEN);
    let told = traffic.stop();
    report("the one gateway replaced", &told);
    let nobody_listens = |outcome: &str| outcome.parse::<u16>().is_err();
    assert!(told.outcomes().all(nobody_listens), "whoever is answered is served");
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn a_request_in_flight_is_answered_when_everything_is_taken_down() {
    let _turn = turn();
    let deployment = start(&[]);
    let gateway = deployment.gateway(1);
    let token = deployment.token("ada");
    let whole = request("POST", "/api/tasks", &token, r#"{"title":"in flight"}"#);
    let (first, last) = whole.split_at(whole.len() - 5);
    let mut flight = Connection::open(gateway).unwrap();
    flight.send(first).unwrap();
    let list = request("GET", "/api/tasks", &token, "");
    assert_eq!(ask(gateway, &list).status, 200, "it has arrived");

    let mut down = deployment.command();
    let down = thread::spawn(move || down.arg("down").output().unwrap());
    wait_until("nobody is let in any more", || refuses(gateway));
    flight.send(last).unwrap();
    let answer = flight.answer().unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    let output = down.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    deployment.up(&[]);
    assert!(
        ask(gateway, &request("GET", "/api/tasks", &deployment.token("ada"), "")).body.contains("in flight")
    );
}

/// Whether a connection is refused, or ended before it is answered.
fn refuses(gateway: SocketAddr) -> bool {
    let asked = http::ask(gateway, &request("GET", "/health", "", ""));
    matches!(asked, Err(error) if error.kind() != io::ErrorKind::WouldBlock)
}

#[test]
#[ignore = "needs a container engine: .ci/containers.sh"]
fn several_gateways_take_a_port_each_of_a_range() {
    let _turn = turn();
    let env = env() + "USHER_PUBLISH=127.0.0.1:8000-8003\n";
    let deployment = Deployment::start(built(), VERSION, &["compose.yaml"], &env, &["gateway=2"]);
    let gateways = [1, 2].map(|index| deployment.gateway(index));
    assert_ne!(gateways[0], gateways[1]);
    for gateway in gateways {
        assert!((8000..=8003).contains(&gateway.port()));
        assert_eq!(ask(gateway, &request("GET", "/health", "", "")).status, 200);
    }
}
