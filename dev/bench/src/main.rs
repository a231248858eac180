//! The benchmark's program, which is also the servers that it measures.

use std::{
    env,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use bench::{
    capacity::{self, Plain},
    cost, floor, forwarder, instructions, memory, paced, proxies, tasks,
    world::World,
};
use clap::{Parser, Subcommand};

/// What a request costs, in instructions and beside peers. Without a command: everything
#[derive(Parser)]
struct Options {
    /// Only shows that everything that is measured is accepted as the right user, and that what is forged is not
    #[arg(long)]
    smoke: bool,
    /// How often each cost is sampled
    #[arg(long, default_value_t = 100)]
    samples: usize,
    /// How often each server is loaded
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// For how long each time
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Only instructions per request. Fails where one is more than a fifth above the accepted reading
    Instructions {
        /// Accept what is read: writes it into dev/bench/instructions.toml
        #[arg(long)]
        update: bool,
        /// Also names so many functions with the most instructions, callees included
        #[arg(long, default_value_t = 0)]
        top: usize,
        /// A folder with programs gateway, auth-verifier and task-service to measure, instead of what this was built with
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// Only what a verdict costs in the process
    Cost,
    /// Only verdicts over sockets
    Capacity,
    /// Only the gateway beside other proxies
    Proxies,
    /// Only what the gateway and other proxies keep in memory
    Memory,
    /// Only task-service beside pgbench, and the whole path beside a FastAPI stack
    Tasks,
    /// Be gateway
    #[command(hide = true)]
    Gateway,
    /// Be auth-verifier
    #[command(hide = true)]
    AuthVerifier,
    /// Be task-service
    #[command(hide = true)]
    TaskService,
    /// Be a server that checks nothing
    #[command(hide = true)]
    Plain { what: Plain, address: SocketAddr },
    /// Be the thinnest forwarder
    #[command(hide = true)]
    Forwarder { listen: SocketAddr, upstream: SocketAddr },
    /// Be a proxy that knows who is calling, and nothing else
    #[command(hide = true)]
    Floor { listen: SocketAddr, upstream: SocketAddr, verifier: SocketAddr },
    /// Be the load at a fixed rate
    #[command(hide = true)]
    Load { address: SocketAddr, path: String, lines: PathBuf, seconds: u64 },
    /// Check a signature again and again
    #[command(hide = true)]
    CheckAlone { alg: String, seconds: u64 },
}

fn main() -> ExitCode {
    let options = Options::parse();
    // A service has its own runtime.
    match options.role {
        Some(Role::Gateway) => return gateway::main(["gateway".into()]),
        Some(Role::AuthVerifier) => return auth_verifier::main(["auth-verifier".into()]),
        Some(Role::TaskService) => return task_service::main(["task-service".into()]),
        _ => {}
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let mut runtime = match options.role {
        // As the services have it.
        Some(Role::Plain { .. } | Role::Forwarder { .. }) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        match &options.role {
            Some(Role::Plain { what, address }) => capacity::serve_plain(*what, *address).await,
            Some(Role::Forwarder { listen, upstream }) => forwarder::forward(*listen, *upstream).await,
            Some(Role::Floor { listen, upstream, verifier }) => {
                floor::forward(*listen, *upstream, *verifier).await
            }
            Some(Role::Load { address, path, lines, seconds }) => {
                paced::load(*address, path, lines, Duration::from_secs(*seconds))
            }
            Some(Role::CheckAlone { alg, seconds }) => {
                capacity::check_alone(alg, Duration::from_secs(*seconds))
            }
            _ => measure(options).await,
        }
    })
}

async fn measure(options: &Options) -> io::Result<()> {
    let Options { smoke, samples, rounds, seconds, role } = options;
    let (samples, rounds, seconds) = if *smoke { (1, 1, 1) } else { (*samples, *rounds, *seconds) };
    let world = World::new().await?.ok_or_else(|| io::Error::other("missing: PostgreSQL"))?;
    let mut out = io::stdout();
    let exe = env::current_exe()?;
    let time = Duration::from_secs(seconds);
    let only = role.as_ref();
    if matches!(only, Some(Role::Instructions { .. })) || (only.is_none() && !smoke) {
        let (update, top, programs) = match only {
            Some(Role::Instructions { update, top, programs }) => (*update, *top, programs.as_deref()),
            _ => (false, 0, None),
        };
        let readings = instructions::measure(&world, exe.as_os_str(), programs, top)?;
        writeln!(out, "{}", readings.table())?;
        if update {
            readings.accept()?;
        } else {
            readings.judge()?;
        }
    }
    if matches!(only, None | Some(Role::Cost)) {
        writeln!(out, "{}", cost::measure(&world, samples).await?)?;
    }
    if matches!(only, None | Some(Role::Capacity)) {
        writeln!(out, "{}", capacity::measure(&world, exe.as_os_str(), rounds, time)?)?;
    }
    if matches!(only, None | Some(Role::Proxies)) {
        writeln!(out, "{}", proxies::measure(&world, exe.as_os_str(), rounds, time)?)?;
    }
    if matches!(only, None | Some(Role::Memory)) {
        writeln!(out, "{}", memory::measure(&world, exe.as_os_str(), *smoke)?)?;
        writeln!(out, "{}", memory::growth(&world, exe.as_os_str(), *smoke)?)?;
    }
    if matches!(only, None | Some(Role::Tasks)) {
        for table in tasks::measure(&world, exe.as_os_str(), rounds, time, *smoke).await? {
            writeln!(out, "{table}")?;
        }
    }
    Ok(())
}
