//! A folder held open: what is done in it follows no link, whoever else may write to it.
//!
//! Root has folders that belong to the server's account, or lie beside those of others. A path is looked up anew each time,
//! and somebody may have put a link into it meanwhile; a folder that is open stays the one that was checked.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStringExt,
            fs::{DirBuilderExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, flock,
        fstat, fsync, mkdirat, openat, renameat, statat, unlinkat,
    },
    io::Errno,
    process::{getegid, geteuid},
};

use crate::{StartError, account::Account, wait::wait_for};

/// Where programs of root's keep their data.
const LASTING: (&str, &str) =
    if cfg!(target_os = "macos") { ("/var/db", "usher") } else { ("/var/lib", "usher") };

/// Open to us alone.
pub(crate) const PRIVATE: Mode = Mode::RWXU;
/// Others may pass through to what they may use. They see no names.
pub(crate) const PASSABLE: Mode = Mode::RWXU.union(Mode::XGRP).union(Mode::XOTH);
/// Others may look at everything.
pub(crate) const READABLE: Mode = PASSABLE.union(Mode::RGRP).union(Mode::ROTH);
/// Writable by others.
const OTHERS_WRITE: Mode = Mode::WGRP.union(Mode::WOTH);

/// A folder held open.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// The folder for what we write on behalf of `root`, which is made if it is missing: locks, logs, secrets.
    ///
    /// That is `root` itself; but if we are the superuser and somebody else could write there, it is one of our own,
    /// always the same for `root`.
    pub fn of(root: &Path) -> Result<Self, StartError> {
        let root = Self::make_all(root)?;
        if !geteuid().is_root() || root.is_roots_alone()? { Ok(root) } else { Self::elsewhere(root.path()) }
    }

    /// The folder for what another user must be able to use: that of [`Self::of`], or one of root's own where it can't be entered.
    pub fn entered(root: &Path, can_enter: impl Fn(&Path) -> bool) -> Result<Self, StartError> {
        let own = Self::of(root)?;
        if can_enter(own.path()) { Ok(own) } else { Self::elsewhere(own.path()) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file of ours to read and write, and makes it if it is missing, for our eyes only. A link, somebody else's file
    /// and whatever else isn't a file are refused.
    pub fn file(&self, name: &str) -> Result<File, StartError> {
        self.open_file(name, OFlags::RDWR)
    }

    /// The folder at `path`, made with those above it if it is missing.
    pub(crate) fn make_all(path: &Path) -> Result<Self, StartError> {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(StartError::io("create", path))?;
        Self::open(&path.canonicalize().map_err(StartError::io("find", path))?)
    }

    /// The folder at `path`, whose last part is no link.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        open(CWD, path)
            .map_err(|error| refused("open", path, error))
            .map(|fd| Self { fd, path: path.to_owned() })
    }

    /// The folder of root's own that stands in for `root`.
    pub(crate) fn elsewhere(root: &Path) -> Result<Self, StartError> {
        let (parent, name) = LASTING;
        Self::open(Path::new(parent))?.own(name, PASSABLE)?.own(&name_for(root), PASSABLE)
    }

    /// The same, if it was made before.
    pub(crate) fn found_elsewhere(root: &Path) -> Result<Option<Self>, StartError> {
        let (parent, name) = LASTING;
        let Some(base) = Self::open(Path::new(parent))?.folder(name)? else { return Ok(None) };
        base.must_belong_to(&[geteuid().as_raw()])?;
        let found = base.folder(&name_for(root))?;
        if let Some(found) = &found {
            found.must_belong_to(&[geteuid().as_raw()])?;
        }
        Ok(found)
    }

    /// Whether nobody but the superuser can write to it, or put something else in its place: each folder on the way is root's, too,
    /// and keeps the names in it. Its path has no link.
    pub(crate) fn is_roots_alone(&self) -> Result<bool, StartError> {
        if self.owner()? != 0 || self.mode()?.intersects(OTHERS_WRITE) {
            return Ok(false);
        }
        let mut on_the_way = Self::open(Path::new("/"))?;
        for part in self.path.strip_prefix("/").unwrap_or(&self.path) {
            if !on_the_way.keeps_names()? {
                return Ok(false);
            }
            let path = on_the_way.path.join(part);
            let Ok(fd) = open(&on_the_way.fd, Path::new(part)) else { return Ok(false) };
            on_the_way = Self { fd, path };
        }
        let (there, this) = (on_the_way.stat()?, self.stat()?);
        Ok((there.st_dev, there.st_ino) == (this.st_dev, this.st_ino))
    }

    /// Whether it is root's, and what is made in it stays what it is until its owner says otherwise.
    pub(crate) fn keeps_names(&self) -> Result<bool, StartError> {
        let mode = self.mode()?;
        Ok(self.owner()? == 0 && (!mode.intersects(OTHERS_WRITE) || mode.contains(Mode::SVTX)))
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> Result<u32, StartError> {
        self.stat().map(|found| found.st_uid)
    }

    /// Who may do what with it.
    pub(crate) fn mode(&self) -> Result<Mode, StartError> {
        self.stat().map(|found| Mode::from_raw_mode(found.st_mode))
    }

    fn stat(&self) -> Result<Stat, StartError> {
        fstat(&self.fd).map_err(self.failed("look at"))
    }

    /// The folder of that name in this one.
    pub(crate) fn folder(&self, name: &str) -> Result<Option<Self>, StartError> {
        let path = self.path.join(name);
        match open(&self.fd, Path::new(name)) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::ACCESS) => Err(StartError::Foreign(path)),
            Err(error) => Err(refused("open", &path, error)),
        }
    }

    /// Makes a folder that is ours alone; `None` if the name is taken.
    pub(crate) fn new_folder(&self, name: &str) -> Result<Option<Self>, StartError> {
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Err(Errno::EXIST) => return Ok(None),
            made => made.map_err(|error| refused("create", &self.path.join(name), error))?,
        }
        let made = self.folder(name)?.ok_or_else(|| StartError::Foreign(self.path.join(name)))?;
        made.must_belong_to(&[geteuid().as_raw()])?;
        Ok(Some(made))
    }

    /// A folder of ours, made if it is missing.
    pub(crate) fn own(&self, name: &str, mode: Mode) -> Result<Self, StartError> {
        let own = match self.new_folder(name)? {
            Some(new) => new,
            None => self.folder(name)?.ok_or_else(|| StartError::Foreign(self.path.join(name)))?,
        };
        own.must_belong_to(&[geteuid().as_raw()])?;
        own.set_mode(mode)?;
        Ok(own)
    }

    /// A folder that was given to the server's user, if it is not still ours; made if it is missing.
    pub(crate) fn own_or_given(&self, name: &str, account: &Account) -> Result<Self, StartError> {
        let found = match self.new_folder(name)? {
            Some(new) => new,
            None => self.folder(name)?.ok_or_else(|| StartError::Foreign(self.path.join(name)))?,
        };
        found.must_belong_to(&[geteuid().as_raw(), account.uid()])?;
        Ok(found)
    }

    /// The same folder once more.
    pub(crate) fn again(&self) -> Result<Self, StartError> {
        let fd = self.fd.try_clone().map_err(StartError::io("open", &self.path))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Refuses a folder of anybody else.
    pub(crate) fn must_belong_to(&self, users: &[u32]) -> Result<(), StartError> {
        if users.contains(&self.owner()?) { Ok(()) } else { Err(StartError::Foreign(self.path.clone())) }
    }

    pub(crate) fn set_mode(&self, mode: Mode) -> Result<(), StartError> {
        fchmod(&self.fd, mode).map_err(self.failed("close"))
    }

    /// Gives it to another user.
    pub(crate) fn give(&self, user: u32, group: u32) -> Result<(), StartError> {
        fchown(&self.fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
            .map_err(self.failed("give away"))
    }

    /// Makes it ours.
    pub(crate) fn take(&self) -> Result<(), StartError> {
        self.give(geteuid().as_raw(), getegid().as_raw())
    }

    /// Opens a file of ours to append to.
    pub(crate) fn appended(&self, name: &str) -> Result<File, StartError> {
        self.open_file(name, OFlags::RDWR | OFlags::APPEND)
    }

    /// Writes a file of ours that others may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), StartError> {
        let mut file = self.file(name)?;
        file.set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_permissions(Permissions::from_mode(0o644)))
            .map_err(StartError::io("write", self.path.join(name)))
    }

    fn open_file(&self, name: &str, access: OFlags) -> Result<File, StartError> {
        let path = self.path.join(name);
        // Without the last one, a named pipe would keep us waiting.
        let flags = access | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| refused("open", &path, error))?;
        let found = fstat(&fd).map_err(|error| refused("look at", &path, error))?;
        let is_ours = found.st_uid == geteuid().as_raw();
        if !is_ours || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(StartError::Foreign(path));
        }
        // An earlier version of this may have made it for all to read.
        fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(|error| refused("close", &path, error))?;
        Ok(fd.into())
    }

    /// Whether it has something of that name, be it a link that leads nowhere.
    pub(crate) fn has(&self, name: &str) -> Result<bool, StartError> {
        self.look(name).map(|found| found.is_some())
    }

    fn look(&self, name: &str) -> Result<Option<Stat>, StartError> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => found.map(Some).map_err(|error| refused("look at", &self.path.join(name), error)),
        }
    }

    /// Whether it has a file of that name, which is ours and goes by no other name.
    pub(crate) fn has_own_file(&self, name: &str) -> Result<bool, StartError> {
        Ok(self.look(name)?.is_some_and(|found| {
            FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
                && found.st_uid == geteuid().as_raw()
                && found.st_nlink == 1
        }))
    }

    /// When the file or folder of that name was last written to.
    pub(crate) fn written(&self, name: &str) -> Result<Option<SystemTime>, StartError> {
        let time = |found: Stat| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(found.st_mtime).unwrap_or(0))
        };
        Ok(self.look(name)?.map(time))
    }

    /// Holds the lock of a file of ours, if there is one: another process that does so is in the way.
    pub(crate) fn locked_if_own(&self, name: &str) -> Result<Option<File>, StartError> {
        if !self.has_own_file(name)? {
            return Ok(None);
        }
        let file = self.file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(StartError::Busy(self.path.clone())),
            Err(TryLockError::Error(error)) => Err(StartError::io("lock", self.path.join(name))(error)),
        }
    }

    /// Removes whatever has that name; of a link, the link.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StartError> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // The standard library follows no link either.
            Err(Errno::ISDIR | Errno::PERM) => {
                let path = self.path.join(name);
                fs::remove_dir_all(&path).map_err(StartError::io("remove", path))
            }
            Err(error) => Err(refused("remove", &self.path.join(name), error)),
        }
    }

    /// Moves `name` from this folder into another, where nothing has that name. `false`: they lie on different disks.
    pub(crate) fn move_to(&self, name: &str, other: &Self, new_name: &str) -> Result<bool, StartError> {
        match renameat(&self.fd, name, &other.fd, new_name) {
            Ok(()) => Ok(true),
            Err(Errno::XDEV) => Ok(false),
            Err(error) => Err(refused("move", &self.path.join(name), error)),
        }
    }

    /// Does something while no other process does it.
    pub(crate) fn alone<T>(&self, work: impl FnOnce() -> Result<T, StartError>) -> Result<T, StartError> {
        let look = || match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(())),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(self.failed("lock")(error)),
        };
        wait_for(look, || StartError::Busy(self.path.clone()))?;
        let done = work();
        flock(&self.fd, FlockOperation::Unlock).map_err(self.failed("unlock"))?;
        done
    }

    /// Waits until what was made or renamed in it is on the disk.
    pub(crate) fn sync(&self) -> Result<(), StartError> {
        fsync(&self.fd).map_err(self.failed("sync"))
    }

    /// Whether [`Folder::sync_disk`] does anything.
    pub(crate) const SYNCS_DISK: bool = cfg!(target_os = "linux");

    /// Waits until all that was written to its disk is there.
    pub(crate) fn sync_disk(&self) -> Result<(), StartError> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.fd).map_err(self.failed("sync"))?;
        Ok(())
    }

    /// What is in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, StartError> {
        let entries = Dir::read_from(&self.fd).map_err(self.failed("list"))?;
        let names =
            entries.map(|entry| entry.map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec())));
        let names: Result<Vec<_>, _> = names.collect();
        let mut names = names.map_err(self.failed("list"))?;
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(Errno) -> StartError {
        move |error| StartError::io(what, &self.path)(error.into())
    }
}

/// The name of a folder that stands in for `root`: the same in every build and on every machine, unlike the hashers of the
/// standard library.
pub(crate) fn name_for(root: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = digest(&SHA256, root.as_os_str().as_bytes());
    let number = hash.as_ref().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("dev-postgres-{number:016x}")
}

fn open(parent: impl std::os::fd::AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, path, flags, Mode::empty())
}

/// A link where there should be none is somebody's trap.
fn refused(what: &'static str, path: &Path, error: Errno) -> StartError {
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => StartError::Foreign(path.to_owned()),
        error => StartError::io(what, path)(io::Error::from(error)),
    }
}
