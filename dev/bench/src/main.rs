//! The benchmark, the program; and the servers that it measures, which are this program too.

use std::{
    env,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use bench::{
    capacity::{self, Plain},
    cost,
    world::World,
};
use clap::{Parser, Subcommand};

/// What a verdict costs, and how many a core gives in a second
#[derive(Parser)]
struct Options {
    /// Only shows that everything that is measured is accepted, and what is forged is not
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
    /// Only the costs
    Cost,
    /// Only the servers
    Capacity,
    /// Be auth-verifier
    #[command(hide = true)]
    Verifier,
    /// Be a server that checks nothing
    #[command(hide = true)]
    Plain { what: Plain, address: SocketAddr },
    /// Check a signature again and again
    #[command(hide = true)]
    CheckAlone { alg: String, seconds: u64 },
}

fn main() -> ExitCode {
    let options = Options::parse();
    if matches!(options.role, Some(Role::Verifier)) {
        return auth_verifier::main(["auth-verifier".into()]);
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
        Some(Role::Plain { .. }) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        match &options.role {
            Some(Role::Plain { what, address }) => capacity::serve_plain(*what, *address).await,
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
    if !matches!(role, Some(Role::Capacity)) {
        writeln!(out, "{}", cost::measure(&world, samples).await?)?;
    }
    if !matches!(role, Some(Role::Cost)) {
        let exe = env::current_exe()?;
        let time = Duration::from_secs(seconds);
        writeln!(out, "{}", capacity::measure(&world, exe.as_os_str(), rounds, time)?)?;
    }
    Ok(())
}
