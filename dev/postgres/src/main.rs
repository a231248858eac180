//! Runs a private PostgreSQL until standard input ends, and prints where it is: `dev-postgres FOLDER DATABASE`.

use std::{
    env,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use dev_postgres::Postgres;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let [folder, database] = &args[..] else {
        return fail("dev-postgres needs a folder to keep the data in, and the name of a database");
    };
    match run(Path::new(folder), database) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn run(folder: &Path, database: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut say = |note: &str| {
        let _ = writeln!(io::stderr(), "{note}");
    };
    let postgres = Postgres::start(folder, &mut say)?;
    postgres.create_database(database)?;
    writeln!(io::stdout(), "{}", postgres.url(database))?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    postgres.stop();
    Ok(())
}

fn fail(sentence: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{sentence}");
    ExitCode::FAILURE
}
