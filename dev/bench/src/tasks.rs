//! task-service beside PostgreSQL's own pgbench, and the whole path beside a FastAPI stack that does the same work.
//!
//! All on one server, over the same tasks, in turn. What is measured, PostgreSQL, and the load share the machine's cores, as they
//! do on a small machine: read the ratios, and CPU time above all.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    capacity, median,
    memory::resident,
    peers::GATEWAY,
    server::{self, Server, Under, free, parent, say, used, used_with_children},
    services::Services,
    table::{Table, short},
    wire::{self, Connection},
    world::{self, ISSUER, SECRET, USERS, World, claims},
};

/// How many tasks each of the [`USERS`] has; `--smoke` takes a hundredth.
const TASKS: usize = 1000;

/// How many clients ask at a time.
const CLIENTS: [usize; 3] = [1, 8, 32];

/// How many ask both stacks, and everybody in `--smoke`.
const MANY: usize = CLIENTS[2];

/// How many different requests a load has.
const REQUESTS: usize = 4000;

/// The first task's number: as many digits as the last group of its id has.
const FIRST: usize = 100_000_000_000;

/// The role that serves: row-level security holds for it.
const ROLE: &str = "bench_app";

/// What is asked for, in the words of HTTP and of pgbench.
struct Operation {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static str,
    script: &'static str,
}

/// Each task and each user is known by its number: `:user` and `:task`.
const OPERATIONS: [Operation; 4] = [
    Operation {
        name: "one task",
        method: "GET",
        path: "/{task}",
        body: "",
        script: "select COLUMNS from task_service.tasks where user_id = USER and id = TASK;",
    },
    Operation {
        name: "a list of 20",
        method: "GET",
        path: "?limit=20",
        body: "",
        script: "select COLUMNS from task_service.tasks where user_id = USER order by created_at desc, id desc limit 20;",
    },
    Operation {
        name: "a new task",
        method: "POST",
        path: "",
        body: r#"{"title":"Buy milk and bread","description":"lorem ipsum dolor sit amet"}"#,
        script: "insert into task_service.tasks (user_id, id, title, description) values \
                 (USER, gen_random_uuid(), 'Buy milk and bread', 'lorem ipsum dolor sit amet') returning COLUMNS;",
    },
    Operation {
        name: "a change",
        method: "PATCH",
        path: "/{task}",
        body: r#"{"title":"Buy milk, bread and butter"}"#,
        script: "update task_service.tasks set title = 'Buy milk, bread and butter', updated_at = now(), version = version + 1 \
                 where user_id = USER and id = TASK returning COLUMNS;",
    },
];

const COLUMNS: &str = "id, user_id, title, description, completed, priority, due_date, due_day, tags, created_at, updated_at, version";

/// What this needs and this machine lacks, and how to get it.
pub fn missing() -> Option<&'static str> {
    capacity::missing().or_else(|| {
        server::missing_of(&[
            ("pgbench", "pgbench: apt-get install postgresql"),
            ("uvicorn", "FastAPI: export PATH=\"$PATH:$(.ci/pip.sh fastapi)\""),
        ])
    })
}

/// What one turn under load has shown. Times are in microseconds.
struct Sample {
    per_second: f64,
    /// Of a core, for each request: those of whoever is measured, and PostgreSQL's.
    own: f64,
    postgres: f64,
    half: f64,
    slow: f64,
}

/// The samples of one peer, row by row.
type Samples = HashMap<(usize, usize), Vec<Sample>>;

/// Measures in so many rounds, for so long each time: task-service beside pgbench, then the whole path beside FastAPI.
/// `exe` is this program.
pub async fn measure(
    world: &World,
    exe: &OsStr,
    rounds: usize,
    time: Duration,
    smoke: bool,
) -> io::Result<[Table; 2]> {
    if let Some(missing) = missing() {
        return Err(io::Error::other(format!("missing: {missing}")));
    }
    let services = Services { world, exe, programs: None };
    let named = [("TASK_SERVICE_DATABASE__NAMED_STATEMENTS", "on")];
    // The load takes turns among the same users for longer than an assertion usually lives.
    let lasting =
        [("AUTH_VERIFIER_IDENTITY__LIFE_SECS", "120"), ("AUTH_VERIFIER_VERDICT_MAX_AGE_SECS", "100")];
    let verifier = services.auth_verifier(Under::Nothing, &lasting)?;
    // It makes the tables, as their owner.
    drop(services.task_service(Under::Nothing, verifier.address, &world.tasks.url(), &[])?);
    let each = if smoke { TASKS / 100 } else { TASKS };
    let counts: &[_] = if smoke { &[MANY] } else { &CLIENTS };
    let tasks = Tasks::fill(world, each).await?;
    let url = tasks.role_url();
    let by_name = services.task_service(Under::Nothing, verifier.address, &url, &named)?;
    let by_default = services.task_service(Under::Nothing, verifier.address, &url, &[])?;
    let gateway = services.gateway(Under::Nothing, verifier.address, by_name.address, &GATEWAY)?;
    let fastapi = start_fastapi(world)?;
    tasks.fill_fastapi().await?;

    let loads = Loads { folder: world.folder(), verifier: &verifier, world, each };
    let (mut alone, mut named_ones, mut default_ones) = (Samples::new(), Samples::new(), Samples::new());
    for round in 0..=rounds {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            for &clients in counts {
                // Once for nothing, to fill the caches.
                let keep = |samples: &mut Samples, sample| {
                    if round > 0 {
                        samples.entry((at, clients)).or_default().push(sample);
                    }
                };
                say(&format!("round {round} of {rounds}: {}, {clients} clients", operation.name));
                keep(&mut alone, tasks.pgbench(operation, clients, time, world.folder(), each)?);
                let load = loads.internal(operation)?;
                keep(&mut named_ones, tasks.load(&[&by_name], &load, clients, time)?);
                keep(&mut default_ones, tasks.load(&[&by_default], &load, clients, time)?);
            }
        }
    }
    let beside_pgbench = beside_pgbench(counts, &alone, &named_ones, &default_ones);

    let (mut path, mut python) = (Samples::new(), Samples::new());
    let (ours, theirs) = ([&gateway, &verifier, &by_name], [&fastapi]);
    for round in 0..=rounds {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            say(&format!("round {round} of {rounds}: the whole path, {}", operation.name));
            let ours = tasks.load(&ours, &loads.whole(operation)?, MANY, time)?;
            let theirs = tasks.load(&theirs, &loads.fastapi(operation)?, MANY, time)?;
            if round > 0 {
                path.entry((at, MANY)).or_default().push(ours);
                python.entry((at, MANY)).or_default().push(theirs);
            }
        }
    }
    let mut held = 0.0;
    for server in ours {
        held += resident(server)?;
    }
    Ok([beside_pgbench, beside_fastapi(&path, &python, held, resident(&fastapi)?)])
}

/// The tasks, and the server that they are on.
struct Tasks<'a> {
    world: &'a World,
    each: usize,
    /// The server's first process.
    postmaster: String,
    client: tokio_postgres::Client,
}

impl<'a> Tasks<'a> {
    /// Gives every user `each` tasks, and makes the role that serves.
    async fn fill(world: &'a World, each: usize) -> io::Result<Self> {
        let (client, connection) = tokio_postgres::connect(&world.tasks.url(), tokio_postgres::NoTls)
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        say(&format!("making {} tasks", USERS * each));
        let last = USERS * each - 1;
        let rows = format!(
            "insert into task_service.tasks (user_id, id, title, description, completed, created_at, updated_at)
             select 'u' || n % {USERS}, ('00000000-0000-7000-8000-' || {FIRST} + n)::uuid, 'Task number ' || n,
                    repeat('lorem ipsum ', 5), n % 3 = 0, timestamptz '2026-01-01 00:00Z' + n * interval '2 s', now()
             from generate_series(0, {last}) n;
             create role {ROLE} login password '{SECRET}';
             grant usage on schema task_service to {ROLE};
             grant select, insert, update, delete on all tables in schema task_service to {ROLE};"
        );
        client.batch_execute(&rows).await.map_err(io::Error::other)?;
        for statement in ["vacuum (analyze, freeze) task_service.tasks", "checkpoint"] {
            client.batch_execute(statement).await.map_err(io::Error::other)?;
        }
        let own = client.query_one("select pg_backend_pid()", &[]).await.map_err(io::Error::other)?;
        let postmaster = parent(&own.get::<_, i32>(0).to_string())?;
        Ok(Self { world, each, postmaster, client })
    }

    /// The same tasks in the table of the FastAPI stack, which it has made.
    async fn fill_fastapi(&self) -> io::Result<()> {
        let rows = format!(
            "insert into public.tasks (id, user_id, title, description, completed, created_at, updated_at)
             select n, 'u' || n % {USERS}, 'Task number ' || n, repeat('lorem ipsum ', 5), n % 3 = 0,
                    timestamptz '2026-01-01 00:00Z' + n * interval '2 s', now()
             from generate_series(0, {last}) n;
             select setval(pg_get_serial_sequence('public.tasks', 'id'), {next});",
            last = USERS * self.each - 1,
            next = USERS * self.each,
        );
        self.client.batch_execute(&rows).await.map_err(io::Error::other)?;
        for statement in ["vacuum (analyze, freeze) public.tasks", "checkpoint"] {
            self.client.batch_execute(statement).await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// The database, for the role that serves.
    fn role_url(&self) -> String {
        let url = self.world.tasks.url();
        let (scheme, rest) = url.split_once("://").expect("it is a URL");
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        format!("{scheme}://{ROLE}:{SECRET}@{rest}")
    }

    /// How many seconds of a core PostgreSQL has used.
    fn postgres_used(&self) -> io::Result<f64> {
        let mut all = used_with_children(&self.postmaster)?;
        for entry in fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            // One may end while it is looked at; then it is the postmaster's.
            if pid.bytes().all(|byte| byte.is_ascii_digit())
                && parent(&pid).is_ok_and(|parent| parent == self.postmaster)
            {
                all += used(&pid).unwrap_or(0.0);
            }
        }
        Ok(all)
    }

    /// PostgreSQL's own client, which has no HTTP, no identity and no row-level security to care about.
    fn pgbench(
        &self,
        operation: &Operation,
        clients: usize,
        time: Duration,
        folder: &Path,
        each: usize,
    ) -> io::Result<Sample> {
        let script = folder.join("pgbench.sql");
        let sql = operation
            .script
            .replace("COLUMNS", COLUMNS)
            .replace("USER", "'u' || :user::text")
            .replace("TASK", "('00000000-0000-7000-8000-' || :task::text)::uuid");
        let numbers = format!(
            "\\set user random(0, {})\n\\set task {FIRST} + :user + {USERS} * random(0, {})\n",
            USERS - 1,
            each - 1
        );
        fs::write(&script, numbers + &sql)?;
        let log = folder.join("pgbench.log");
        let (postgres, own) = (self.postgres_used()?, used_with_children("self")? - used("self")?);
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--protocol=prepared", "--log", "--sampling-rate=0.1"])
            .arg(format!("--log-prefix={}", log.display()))
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--time={}", time.as_secs()))
            .arg(format!("--file={}", script.display()))
            .arg(self.world.tasks.url())
            .current_dir(folder)
            .output()?;
        // Until the server knows that its sessions have ended: they are nobody's for a moment.
        thread::sleep(Duration::from_millis(200));
        let (postgres, own) =
            (self.postgres_used()? - postgres, used_with_children("self")? - used("self")? - own);
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |before: &str| -> Option<f64> {
            let rest = text.lines().find_map(|line| line.strip_prefix(before))?;
            rest.split_whitespace().next()?.parse().ok()
        };
        let (Some(per_second), Some(requests)) =
            (number("tps = "), number("number of transactions actually processed: "))
        else {
            return Err(io::Error::other(format!(
                "pgbench: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )));
        };
        let mut waits = Vec::new();
        for file in fs::read_dir(folder)?.flatten() {
            if file.file_name().to_string_lossy().starts_with("pgbench.log.") {
                let text = fs::read_to_string(file.path())?;
                waits.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
                fs::remove_file(file.path())?;
            }
        }
        waits.sort_by(f64::total_cmp);
        let at = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or(0.0);
        Ok(Sample {
            per_second,
            own: own * 1e6 / requests,
            postgres: postgres * 1e6 / requests,
            half: at(50),
            slow: at(99),
        })
    }

    /// Loads the first of `servers`; all of them are counted.
    fn load(&self, servers: &[&Server], load: &Path, clients: usize, time: Duration) -> io::Result<Sample> {
        let script = load.with_file_name("requests.lua");
        fs::write(&script, include_str!("../requests.lua"))?;
        let all_used = || servers.iter().map(|server| server.used()).sum::<io::Result<f64>>();
        let (postgres, own) = (self.postgres_used()?, all_used()?);
        let output = Command::new("wrk")
            .args(["-t1", "-c", &clients.to_string(), "--timeout", "60s", "-d"])
            .arg(format!("{}s", time.as_secs()))
            .arg("-s")
            .args([&script])
            .args([&format!("http://{}/", servers[0].address), "--"])
            .arg(load)
            .output()?;
        let (postgres, own) = (self.postgres_used()? - postgres, all_used()? - own);
        let text = String::from_utf8_lossy(&output.stdout);
        let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let numbers =
            result.map(|line| line.split(' ').filter_map(|number| number.parse().ok()).collect::<Vec<f64>>());
        let Some(&[requests, micros, failed, half, slow]) = numbers.as_deref() else {
            return Err(io::Error::other(format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr))));
        };
        if failed > 0.0 || requests < 1.0 {
            return Err(io::Error::other(format!(
                "{failed} of {requests} requests were refused: {}",
                load.display()
            )));
        }
        Ok(Sample {
            per_second: requests / micros * 1e6,
            own: own * 1e6 / requests,
            postgres: postgres * 1e6 / requests,
            half,
            slow,
        })
    }
}

/// Files of requests, each as one of the users.
struct Loads<'a> {
    folder: &'a Path,
    verifier: &'a Server,
    world: &'a World,
    each: usize,
}

impl Loads<'_> {
    /// For task-service, with identities that auth-verifier has just signed.
    fn internal(&self, operation: &Operation) -> io::Result<PathBuf> {
        let mut connection = Connection::open(self.verifier.address)?;
        let mut identities = Vec::new();
        for line in self.tokens() {
            let verdict = connection.ask(&wire::get("/verify", &[&line]))?;
            let of = |name| {
                verdict.header(name).ok_or_else(|| io::Error::other(format!("a verdict without {name}")))
            };
            let (user, assertion) = (of("x-user-id")?, of("x-identity-assertion")?);
            identities.push(format!("x-user-id: {user}\r\nx-identity-assertion: {assertion}"));
        }
        self.write("internal.load", operation, &identities, |_, task| {
            ("/api/tasks".into(), format!("00000000-0000-7000-8000-{}", FIRST + task))
        })
    }

    /// For the gateway.
    fn whole(&self, operation: &Operation) -> io::Result<PathBuf> {
        self.write("whole.load", operation, &self.tokens(), |_, task| {
            ("/api/tasks".into(), format!("00000000-0000-7000-8000-{}", FIRST + task))
        })
    }

    /// For the FastAPI stack.
    fn fastapi(&self, operation: &Operation) -> io::Result<PathBuf> {
        self.write("fastapi.load", operation, &self.tokens(), |user, task| {
            (format!("/api/{}/tasks", world::user(user)), task.to_string())
        })
    }

    fn tokens(&self) -> Vec<String> {
        let issuer = self.world.issuer("HS256");
        let token = |number| issuer.token(None, &claims(&world::user(number)));
        (0..USERS).map(|number| format!("authorization: Bearer {}", token(number))).collect()
    }

    /// `place` has the path of a user's tasks, and the id of a task.
    fn write(
        &self,
        file: &str,
        operation: &Operation,
        lines: &[String],
        place: impl Fn(usize, usize) -> (String, String),
    ) -> io::Result<PathBuf> {
        let path = self.folder.join(file);
        let mut out = io::BufWriter::new(fs::File::create(&path)?);
        for request in 0..REQUESTS {
            // Far apart, so that no page is read twice in a row.
            let (user, nth) = (request * 7919 % USERS, request * 104_729 % self.each);
            let (tasks, task) = place(user, user + USERS * nth);
            let Operation { method, path, body, .. } = operation;
            let path = path.replace("{task}", &task);
            write!(out, "{method} {tasks}{path} HTTP/1.1\r\nhost: bench\r\n{}\r\n", lines[user])?;
            if !body.is_empty() {
                write!(out, "content-type: application/json\r\ncontent-length: {}\r\n", body.len())?;
            }
            write!(out, "\r\n{body}\0")?;
        }
        out.flush()?;
        Ok(path)
    }
}

/// The FastAPI stack, with one worker.
fn start_fastapi(world: &World) -> io::Result<Server> {
    let folder = world.folder();
    fs::write(folder.join("fastapi_tasks.py"), include_str!("../fastapi.py"))?;
    let url = world.tasks.url();
    // asyncpg takes the socket's folder as a parameter.
    let (login, rest) = url.split_once('@').unwrap_or((&url, ""));
    let login = login.replace("postgresql://", "postgresql+asyncpg://");
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "5432"));
    let variables = vec![
        ("BETTER_AUTH_SECRET".to_owned(), SECRET.to_owned()),
        ("BETTER_AUTH_URL".to_owned(), ISSUER.to_owned()),
        ("DATABASE_URL".to_owned(), format!("{login}@/{database}?host={host}&port={port}")),
    ];
    let address: SocketAddr = free()?;
    let port = address.port().to_string();
    let arguments = ["fastapi_tasks:app", "--host", "127.0.0.1", "--port", &port];
    Server::start(Under::Nothing, "uvicorn".as_ref(), &arguments, variables, folder, address)
}

fn beside_pgbench(counts: &[usize], alone: &Samples, by_name: &Samples, by_default: &Samples) -> Table {
    let mut table = Table::new(&[
        "task-service beside pgbench",
        "clients",
        "requests per second",
        "CPU, µs: pgbench",
        "task-service",
        "PostgreSQL under pgbench",
        "under task-service",
        "p50, ms: pgbench",
        "task-service",
        "p99, ms: pgbench",
        "task-service",
        "by default: requests per second",
    ]);
    for (at, operation) in OPERATIONS.iter().enumerate() {
        for &clients in counts {
            let key = (at, clients);
            let of = |samples: &Samples, of: fn(&Sample) -> f64| median(samples[&key].iter().map(of));
            table.row([
                operation.name.to_owned(),
                clients.to_string(),
                beside(&by_name[&key], &alone[&key], |sample| sample.per_second),
                short(of(alone, |sample| sample.own)),
                short(of(by_name, |sample| sample.own)),
                short(of(alone, |sample| sample.postgres)),
                short(of(by_name, |sample| sample.postgres)),
                short(of(alone, |sample| sample.half) / 1e3),
                short(of(by_name, |sample| sample.half) / 1e3),
                short(of(alone, |sample| sample.slow) / 1e3),
                short(of(by_name, |sample| sample.slow) / 1e3),
                beside(&by_default[&key], &alone[&key], |sample| sample.per_second),
            ]);
        }
    }
    table
}

fn beside_fastapi(ours: &Samples, theirs: &Samples, held: f64, theirs_held: f64) -> Table {
    let mut table = Table::new(&[
        "the whole path beside FastAPI",
        "requests per second",
        "requests per CPU second",
        "CPU, µs: ours",
        "FastAPI",
        "p99, ms: ours",
        "FastAPI",
    ]);
    for (at, operation) in OPERATIONS.iter().enumerate() {
        let key = (at, MANY);
        let (ours, theirs) = (&ours[&key], &theirs[&key]);
        let of = |samples: &[Sample], of: fn(&Sample) -> f64| median(samples.iter().map(of));
        table.row([
            operation.name.to_owned(),
            beside(ours, theirs, |sample| sample.per_second),
            beside(ours, theirs, |sample| 1.0 / sample.own),
            short(of(ours, |sample| sample.own)),
            short(of(theirs, |sample| sample.own)),
            short(of(ours, |sample| sample.slow) / 1e3),
            short(of(theirs, |sample| sample.slow) / 1e3),
        ]);
    }
    table.row([
        "resident memory after it, MB".to_owned(),
        String::new(),
        String::new(),
        short(held / 1e6),
        short(theirs_held / 1e6),
        String::new(),
        String::new(),
    ]);
    table
}

/// Each sample beside the one of the peer that was taken next to it.
fn beside(samples: &[Sample], peers: &[Sample], of: fn(&Sample) -> f64) -> String {
    short(median(samples.iter().zip(peers).map(|(sample, peer)| of(sample) / of(peer))))
}
