//! Where the data of a caller's folder are: there, or elsewhere, or where an earlier version of this put them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::SystemTime,
};

use crate::{
    StartError,
    account::Account,
    folder::{Folder, PASSABLE, PRIVATE, name_for},
    folders::{DATA, LOG, OWNER_LOCK},
};

/// The folder that has one folder for each major version, and the version whose data are to be used.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: Folder,
    /// `None` where there are no data yet.
    pub(crate) major: Option<u32>,
}

impl Place {
    /// Finds the data of `root`; if there are none, the place for them.
    ///
    /// Root keeps them in a folder where nobody else can write, and the server's user can enter: `root` if it is one, else
    /// one of its own.
    pub(crate) fn find(
        root: &Path,
        account: &Account,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self, StartError> {
        let root = Folder::make_all(root)?;
        if !account.is_other() {
            return Self::of(root, say);
        }
        let elsewhere = Folder::found_elsewhere(root.path())?;
        let name = account.name();
        let (place, reason) = if !root.is_roots_alone()? {
            (elsewhere, "others than root can write to".to_owned())
        } else if !account.can_enter(root.path()) {
            (elsewhere, format!("user {name} can't enter"))
        } else if let Some(elsewhere) = elsewhere
            && majors(&root)?.is_empty()
            && !majors(&elsewhere)?.is_empty()
        {
            (Some(elsewhere), format!("they were made when user {name} could not enter"))
        } else {
            (Some(root.again()?), String::new())
        };
        let place = place.map_or_else(|| Folder::elsewhere(root.path()), Ok)?;
        place.alone(|| adopt(&place, &root, account, say))?;
        if place.path() != root.path() {
            let (place, root) = (place.path().display(), root.path().display());
            say(&format!("the data are kept in {place}, because {reason} {root}"));
        }
        Self::of(place, say)
    }

    fn of(folder: Folder, say: &mut dyn FnMut(&str)) -> Result<Self, StartError> {
        let majors = majors(&folder)?;
        let major = majors.last().map(|(_, major)| *major);
        if let [others @ .., (_, used)] = &majors[..] {
            for (_, other) in others {
                let others = folder.path().join(name_of(*other));
                say(&format!(
                    "using the data of PostgreSQL {used}, which were used last; those of PostgreSQL {other} are still in {}",
                    others.display()
                ));
            }
        }
        Ok(Self { folder, major })
    }
}

/// What stands behind the name of data that are not complete.
const HALF: &str = ".new";

/// The folder of a major version's data, which mean nothing to another.
pub(crate) fn name_of(major: u32) -> String {
    format!("pg{major}")
}

/// The major versions that have data in a folder, and when they were used; the last one last.
fn majors(folder: &Folder) -> Result<Vec<(SystemTime, u32)>, StartError> {
    let mut majors = Vec::new();
    for name in folder.names()? {
        let Some(name) = name.to_str() else { continue };
        let Some(major) = name.strip_prefix("pg").and_then(|number| number.parse::<u32>().ok()) else {
            continue;
        };
        if name != name_of(major) {
            continue;
        }
        if let Some(home) = folder.folder(name)?
            && home.has(DATA)?
        {
            majors.push((home.written(LOG)?.unwrap_or(SystemTime::UNIX_EPOCH), major));
        }
    }
    majors.sort_unstable();
    Ok(majors)
}

/// Moves what an earlier version of this made for `root` to the place where it is kept now, and which lacks it. Folders under
/// `/var/tmp` are cleaned by the system after a month, a file at a time.
fn adopt(
    place: &Folder,
    root: &Folder,
    account: &Account,
    say: &mut dyn FnMut(&str),
) -> Result<(), StartError> {
    remove_halves(place)?;
    let mut sources = Vec::new();
    // Anybody may have made something of that name.
    let name = name_for(root.path());
    if let Some(formerly) =
        Folder::open(Path::new("/var/tmp")).and_then(|tmp| tmp.folder(&name)).ok().flatten()
    {
        if account.must_own(&formerly).is_ok() {
            sources.push(formerly);
        } else if Account::is_nobodys(&formerly)? {
            let (folder, name) = (formerly.path().display(), account.name());
            say(&format!(
                "{folder} is not used, because it belongs to `nobody`, whom many programs run as: if it is yours, \
                 `chown -hR {name} {folder}` and start again; else remove it"
            ));
        }
    }
    if place.path() != root.path() {
        sources.push(root.again()?);
    }
    for source in sources {
        let mut are_all_moved = true;
        // The last used first: whatever comes in between, they are there before older ones.
        for (_, major) in majors(&source)?.into_iter().rev() {
            let name = name_of(major);
            if place.has(&name)? {
                are_all_moved = false;
                continue;
            }
            let Some(home) = source.folder(&name)? else { continue };
            account.must_own(&home)?;
            let _locks = [home.locked_if_own(OWNER_LOCK)?, home.locked_if_own(LOG)?];
            if source.move_to(&name, place, &name)? {
                source.sync()?;
            } else {
                copy(&source, &home, &name, place, account)?;
            }
            place.sync()?;
            say(&format!(
                "moved the data of PostgreSQL {major} from {} to {}, where they last",
                source.path().display(),
                place.path().display()
            ));
        }
        if are_all_moved && source.path() != root.path() {
            // Unless there is more in it. Of a link, nothing is removed.
            let _ = fs::remove_dir(source.path());
        }
    }
    Ok(())
}

/// Removes what a [`copy`] that was interrupted left.
fn remove_halves(place: &Folder) -> Result<(), StartError> {
    for name in place.names()? {
        let half = name.to_str().and_then(|name| name.strip_suffix(HALF)?.strip_prefix("pg")?.parse().ok());
        if let Some(major) = half {
            place.remove(&(name_of(major) + HALF))?;
        }
    }
    Ok(())
}

/// Moves data to another disk. The server's user reads and writes them, so that root follows no link.
fn copy(
    source: &Folder,
    home: &Folder,
    name: &str,
    place: &Folder,
    account: &Account,
) -> Result<(), StartError> {
    let from = source.path().join(name);
    let stuck = || StartError::Stuck { from: from.clone(), to: place.path().join(name) };
    if let Some(data) = home.folder(DATA)? {
        account.must_own(&data)?;
    }
    let fresh_name = format!("{name}{HALF}");
    place.remove(&fresh_name)?;
    let fresh = place.own(&fresh_name, PASSABLE)?;
    account.give(&fresh.own(DATA, PRIVATE)?, PRIVATE)?;
    let mut cp = account.command("cp");
    cp.arg("-a").arg(from.join(DATA).join(".")).arg(fresh.path().join(DATA)).stderr(Stdio::null());
    let copied = cp.status().is_ok_and(|status| status.success());
    if !(copied && Command::new("sync").status().is_ok_and(|status| status.success())) {
        return Err(stuck());
    }
    // Since when, decides which of several are used.
    if let Some(used) = home.written(LOG)? {
        let stamped = fresh.file(LOG)?.set_modified(used);
        stamped.map_err(StartError::io("write", fresh.path().join(LOG)))?;
    }
    place.move_to(&fresh_name, place, name)?;
    place.sync()?;
    // What can't be removed is a copy too many.
    let _ = account.command("rm").arg("-rf").arg(&from).stderr(Stdio::null()).status();
    Ok(())
}
