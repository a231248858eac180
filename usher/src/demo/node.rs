//! Node.js: whether it is there, and how it is run with no more rights than it needs.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use chassis::settings::Secret;
use dev_postgres::npm;
use tokio::process::Command;

use super::{App, Demo, NAME};
use crate::{error::StartError, rights};

/// The oldest version that the demo's packages run on.
const MAJOR_MIN: u32 = 20;

/// A program of Node.js's, with all that it sees of our environment.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    pub(crate) script: &'static str,
    pub(crate) variables: Vec<(&'static str, Secret)>,
}

impl Node {
    /// The web server of a built demo, with a database, and the secret that the services have, too: what is `shared` with it.
    pub(crate) fn of(demo: &Demo, app: App, shared: impl Iterator<Item = (&'static str, Secret)>) -> Self {
        let addresses = [
            ("LISTEN", demo.listen.at.to_string()),
            ("PAGE_ORIGIN", demo.page.clone()),
            ("API_ORIGIN", demo.gateway.clone()),
        ];
        let variables =
            addresses.map(|(name, value)| (name, Secret::new(value))).into_iter().chain(shared).collect();
        Self { folder: app.folder, script: "server.mjs", variables }
    }

    /// The command that runs it.
    pub(crate) fn command(&self) -> Command {
        let mut command = command("node");
        at_home(&mut command, &self.folder).arg(self.script);
        command.envs(self.variables.iter().map(|(name, value)| (name, value.expose())));
        command
    }
}

/// A command of the demo's own user, where we are root; it sees nothing of ours that may be a secret.
fn command(program: &str) -> Command {
    let mut command = match rights::user_of(NAME) {
        // Whoever shares root's session could type into its terminal.
        Some(user) if cfg!(target_os = "linux") => {
            let mut command = Command::new("setsid");
            // With this the standard library also gives up root's supplementary groups.
            command.arg(program).uid(user).gid(user);
            command
        }
        user => {
            let mut command = Command::new(program);
            user.map(|user| command.uid(user).gid(user));
            // Ctrl-C is for us.
            command.process_group(0);
            command
        }
    };
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| dev_postgres::is_harmless(name)));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Has it run in a folder, above which it looks for no settings.
fn at_home<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.current_dir(folder).env("HOME", folder)
}

/// Refuses where there is no Node.js, an old one, or one that only root can run.
pub(crate) async fn check() -> Result<(), StartError> {
    let said = version(&mut command("node")).await;
    match said.as_deref().map(major) {
        Some(Some(major)) if major >= MAJOR_MIN => Ok(()),
        Some(_) => Err(StartError::OldNode { found: said.unwrap_or_default(), least: MAJOR_MIN }),
        None => match (rights::user_of(NAME), version(&mut npm::command("node").into()).await) {
            (Some(user), Some(_)) => Err(StartError::RootsNode { user }),
            _ => Err(StartError::NoNode { program: "node", least: MAJOR_MIN }),
        },
    }
}

/// Installs the packages of `folder` as its lock file pins them, and runs nothing of them.
pub(super) async fn install(folder: &Path) -> Result<(), StartError> {
    if version(&mut npm::command("npm").into()).await.is_none() {
        return Err(StartError::NoNode { program: "npm", least: MAJOR_MIN });
    }
    let npm = Command::from(npm::ci(folder)).kill_on_drop(true).process_group(0).output().await;
    let output = npm.map_err(StartError::io("run npm in", folder))?;
    let _ = fs::remove_dir_all(folder.join(npm::OWN_CACHE));
    if output.status.success() { Ok(()) } else { Err(StartError::Packages(npm::reason(&output.stderr))) }
}

/// Runs a script to its end. What it says is told only if it fails.
pub(super) async fn run(folder: &Path, args: &[impl AsRef<OsStr>]) -> Result<(), StartError> {
    let output = at_home(&mut command("node"), folder).args(args).output().await;
    let output = output.map_err(StartError::io("build the demo in", folder))?;
    if output.status.success() {
        return Ok(());
    }
    Err(StartError::NotBuilt(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

async fn version(command: &mut Command) -> Option<String> {
    let output = command.arg("--version").stdin(Stdio::null()).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// 20, of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read() {
        for (version, want) in [("v20.20.2", Some(20)), ("v18.0.0", Some(18)), ("20.1.0", None), ("", None)] {
            assert_eq!(major(version), want, "{version}");
        }
    }
}
