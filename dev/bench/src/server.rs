//! The processes that are measured, each of which ends with its handle, and how much of a core they have used.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::wire::{self, Answer};

/// The core of what is measured, and that of what loads it.
pub const CORE: &str = "1";
/// See [`CORE`].
pub const LOAD_CORE: &str = "0";

/// Ports below those that the system hands out by itself: one of those may be a connection's before a server has it.
const PORTS: Range<u16> = 20_000..32_000;

/// How long a server may take to listen. Under valgrind everything is slow.
const START: Duration = Duration::from_mins(2);

/// What a process runs under.
#[derive(Clone, Copy, Debug)]
pub enum Under<'a> {
    /// Pinned to this core.
    Core(&'a str),
    /// Free to use every core.
    Nothing,
    /// Callgrind, which begins to count when it is asked to, and writes to this file.
    Callgrind(&'a Path),
}

/// A server that has been started.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a program and waits until it listens.
    pub fn start(
        under: Under<'_>,
        program: &OsStr,
        arguments: &[&str],
        variables: Vec<(String, String)>,
        folder: &Path,
        address: SocketAddr,
    ) -> io::Result<Self> {
        // It ends with this process, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match under {
            Under::Core(core) => {
                command.args(["taskset", "-c", core]);
            }
            Under::Nothing => {}
            Under::Callgrind(out) => {
                let out = format!("--callgrind-out-file={}", out.display());
                command.args(["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", &out]);
            }
        }
        let child = command
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", path())
            // Caddy keeps its state below it.
            .env("HOME", folder)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { child, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > START || server.child.try_wait()?.is_some() {
                let program = program.to_string_lossy();
                return Err(io::Error::other(format!("{program} {arguments:?} does not listen")));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Waits until the listener for operators at `ops` says that the service is ready.
    pub fn ready(self, ops: SocketAddr) -> io::Result<Self> {
        let started = Instant::now();
        // That listener may come up after the other one.
        let ready =
            || wire::ask_once(ops, &wire::get("/readyz", &[])).is_ok_and(|answer| answer.status == 200);
        while !ready() {
            if started.elapsed() > START {
                return Err(io::Error::other(format!("{} is not ready", self.address)));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(self)
    }

    /// Sends a GET with these header lines, over a connection of its own.
    pub fn get(&self, path: &str, lines: &[&str]) -> io::Result<Answer> {
        wire::ask_once(self.address, &wire::get(path, lines))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many seconds of a core it has used.
    pub fn used(&self) -> io::Result<f64> {
        used(&self.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many seconds of a core a process has used: a process id, or `self`.
pub fn used(pid: &str) -> io::Result<f64> {
    // utime and stime.
    seconds(pid, 2)
}

/// The same, with the children that it has waited for.
pub fn used_with_children(pid: &str) -> io::Result<f64> {
    // cutime and cstime stand behind.
    seconds(pid, 4)
}

fn seconds(pid: &str, fields: usize) -> io::Result<f64> {
    let ticks: f64 =
        stat(pid)?.iter().skip(11).take(fields).filter_map(|field| field.parse::<f64>().ok()).sum();
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// The process that has started another.
pub fn parent(pid: &str) -> io::Result<String> {
    stat(pid)?.get(1).cloned().ok_or_else(|| io::Error::other(format!("process {pid} is gone")))
}

/// The fields behind the name, which may hold anything, in parentheses (proc(5)).
fn stat(pid: &str) -> io::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(fields.split_whitespace().map(ToOwned::to_owned).collect())
}

/// Lets this process, and those that it starts, open as many files as it may, up to `wanted`. Returns how many.
pub fn open_files(wanted: u64) -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |current, maximum| setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum });
    // Only root may raise the hard limit.
    if limit(wanted, maximum.map(|maximum| maximum.max(wanted))).is_err() {
        let _ = limit(maximum.unwrap_or(wanted).min(wanted), maximum);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(wanted)
}

/// An address that nobody listens on.
pub fn free() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(process::id() % 1000).unwrap_or(0) * 12;
    let mut tried = 0;
    loop {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        match TcpListener::bind(("127.0.0.1", port)) {
            Err(_) if tried < PORTS.len() => tried += 1,
            bound => return bound?.local_addr(),
        }
    }
}

/// Where programs are looked for: also where Debian keeps servers, which is not on everybody's path.
pub fn path() -> String {
    format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default())
}

/// The first of these programs that this machine lacks, as the Debian package that brings it.
pub fn missing_of(tools: &[(&str, &'static str)]) -> Option<&'static str> {
    let path = path();
    let found = |tool: &str| env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    tools.iter().find(|(tool, _)| !found(tool)).map(|(_, package)| *package)
}

/// Says on standard error what is being done: some of it takes a while.
pub fn say(what: &str) {
    let _ = writeln!(io::stderr(), "bench: {what}");
}
