//! The demo's files: they come with this program, are laid out in the data folder, and built there once.

use std::{
    fs::{self, DirBuilder},
    os::unix::{
        fs::{DirBuilderExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Demo, NAME, node};
use crate::{error::StartError, rights, say::say};

macro_rules! files {
    ($($path:literal)*) => { [$(($path, include_str!(concat!("../../../deploy/demo/", $path)))),*] };
}

/// What the demo is made of, by the paths in `deploy/demo`.
const FILES: [(&str, &str); 22] = files![
    "package.json" "package-lock.json" "tsconfig.json" "index.html" "server.mjs"
    "src/main.tsx" "src/app.tsx" "src/sign-in.tsx" "src/task-list.tsx" "src/new-task.tsx" "src/edit-task.tsx" "src/fields.tsx"
    "src/messages.tsx" "src/session.ts" "src/tasks.ts" "src/days.ts" "src/style.css" "src/icon.svg"
    "src/api/client.ts" "src/api/patience.ts" "src/api/schema.d.ts" "routes.toml"
];

/// The file of the gateway's routes, and what stands in it for the demo's web server.
const ROUTES: &str = "routes.toml";
const WEB: &str = "http://127.0.0.1:3000";

const LOCK: &str = "package-lock.json";
const PACKAGES: &str = "node_modules";

/// A built demo.
#[derive(Debug)]
pub(crate) struct App {
    /// The folder that it runs in.
    pub(crate) folder: PathBuf,
    /// The gateway's file.
    pub(crate) routes: PathBuf,
}

impl Demo {
    /// Builds it for the data in `root`, unless that was done before.
    pub(crate) async fn build(&self, root: &Path) -> Result<App, StartError> {
        let place = dev_postgres::Folder::entered(root, can_enter)?;
        let folder = place.path().join("demo");
        if !is_built(&folder) {
            build(&folder).await?;
        }
        // Not where the sources are: those are compared.
        let routes = place.path().join("demo-routes.toml");
        write(&routes, &self.routes())?;
        say(NAME, format_args!("built, in {}", folder.display()));
        Ok(App { folder, routes })
    }

    /// The gateway's routes, with the address of the web server.
    fn routes(&self) -> String {
        text_of(ROUTES).replace(WEB, &self.listen.url())
    }
}

fn text_of(name: &str) -> &'static str {
    FILES.iter().find_map(|(path, text)| (*path == name).then_some(*text)).expect("it is one of them")
}

/// Whether a folder has a build of these very files. Only a complete one bears its name.
fn is_built(folder: &Path) -> bool {
    FILES.iter().all(|(path, text)| fs::read_to_string(folder.join(path)).is_ok_and(|found| found == *text))
}

async fn build(folder: &Path) -> Result<(), StartError> {
    let fresh = folder.with_extension("new");
    remove(&fresh)?;
    for (path, text) in FILES {
        let path = fresh.join(path);
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        write(&path, text)?;
    }
    let has_packages = fs::read_to_string(folder.join(LOCK)).is_ok_and(|found| found == text_of(LOCK));
    if has_packages && fs::rename(folder.join(PACKAGES), fresh.join(PACKAGES)).is_ok() {
        say(NAME, "its sources have changed: building it again");
    } else {
        say(NAME, "building it, once: its packages are fetched with npm (72 MB)");
        node::install(&fresh).await?;
    }
    // Where what the packages do is written; the rest stays ours.
    let built = fresh.join("dist");
    make(&built)?;
    if let Some(user) = rights::user_of(NAME) {
        chown(&built, Some(user), Some(user)).map_err(StartError::io("give away", &built))?;
    }
    node::run(&fresh, &["node_modules/vite/bin/vite.js", "build", "--logLevel=warn"]).await?;
    remove(folder)?;
    fs::rename(&fresh, folder).map_err(StartError::io("rename", &fresh))
}

/// Whether the user that the demo runs as can reach a folder.
fn can_enter(folder: &Path) -> bool {
    let Some(user) = rights::user_of(NAME) else { return true };
    let entered = Command::new("true").current_dir(folder).uid(user).gid(user).stdin(Stdio::null()).status();
    entered.is_ok_and(|status| status.success())
}

fn make(folder: &Path) -> Result<(), StartError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(StartError::io("create", folder))
}

fn write(path: &Path, text: &str) -> Result<(), StartError> {
    fs::write(path, text).map_err(StartError::io("write", path))
}

fn remove(folder: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StartError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_demos_files_come_along() {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                // What is made there by hand, and what is for readers.
                if ["node_modules", "dist", "README.md"].iter().any(|name| path.ends_with(name)) {
                    continue;
                }
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
        let mut found = Vec::new();
        walk(&source, &mut found);
        let mut found: Vec<_> = found.iter().map(|path| path.strip_prefix(&source).unwrap()).collect();
        let mut ours: Vec<_> = FILES.iter().map(|(path, _)| Path::new(*path)).collect();
        found.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, found);
    }

    #[test]
    fn the_routes_lead_to_the_web_server() {
        assert_eq!(text_of(ROUTES).matches(WEB).count(), 1);
    }
}
