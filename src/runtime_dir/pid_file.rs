//! The PID file: one gateway's facts as JSON, locked as long as that gateway lives. The lock, not the number in it, says
//! whether somebody runs; so a file that a killed gateway left is recognised and replaced.
//!
//! Every gateway keeps one under its own name ([`super::record_path`]), by which commands find it; one that serves HTTP, or
//! is told to, keeps a second one in the place where scripts look.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A command that looks holds the lock for a moment, too.
const TRIES: u32 = 10;
const TRY_EVERY: Duration = Duration::from_millis(20);
/// More than any; what is longer is no PID file.
const LONGEST: u64 = 64 * 1024;

/// What a PID file says. CONTRACT section 8; the later keys are ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub pid: u32,
    /// RFC 3339.
    pub start_time: String,
    pub version: String,
    /// `stdio`, `http` or `daemon`.
    pub transport: String,
    pub host: Option<String>,
    pub port: Option<u16>,
    /// The admin socket.
    pub socket: Option<PathBuf>,
    pub config: PathBuf,
    pub dotenv: Option<PathBuf>,
    pub argv: Vec<String>,
    pub executable: Option<PathBuf>,
    /// Changes with a restart in place, which keeps the pid and the start of the process.
    pub generation_id: String,
    /// In clock ticks since boot; with the pid it names one process.
    pub start_ticks: Option<u64>,
    pub boot_id: Option<String>,
    pub uid: u32,
    /// Whoever started it: of a stdio gateway, its client.
    pub parent: Option<Parent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub pid: u32,
    pub start_ticks: u64,
}

/// Held by the gateway that it is about; dropped: removed.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

/// Why a PID file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("{} is held by the gateway with pid {}", .path.display(), .pid.map_or("unknown".into(), |pid| pid.to_string()))]
    Held { path: PathBuf, pid: Option<u32> },
    #[error("the PID file {} cannot be written: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// What lies at the place of a PID file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Absent,
    /// Its gateway lives. `None`: it is still starting.
    Held(Option<Box<Facts>>),
    /// Left behind by one that was killed.
    Stale(Option<Box<Facts>>),
}

impl PidFile {
    /// Creates and locks it, or takes over a stale one. Empty until [`Self::write`].
    pub fn take(path: &Path) -> Result<Self, NotTaken> {
        let failed = |error| NotTaken::Io { path: path.to_owned(), error };
        for tries_left in (0..TRIES).rev() {
            let file = open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => {
                    file.set_len(0).map_err(failed)?;
                    return Ok(Self { path: path.to_owned(), file });
                }
                // Its last holder removed it in between.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) if tries_left == 0 => {
                    let pid = read_facts(file).map(|facts| facts.pid);
                    return Err(NotTaken::Held { path: path.to_owned(), pid });
                }
                Err(TryLockError::WouldBlock) => sleep(TRY_EVERY),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(failed(io::Error::other("somebody keeps replacing it")))
    }

    /// The one of an earlier life of this process, with its lock.
    pub fn adopt(path: PathBuf, file: OwnedFd) -> Self {
        Self { path, file: file.into() }
    }

    pub fn write(&mut self, facts: &Facts) -> io::Result<()> {
        let text = serde_json::to_string_pretty(facts)? + "\n";
        // A reader between the two finds an empty file, and takes that for a gateway that is starting.
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // While it is still locked, so that nobody else's is removed; gone already is as wanted.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Looks without touching anything.
pub fn look(path: &Path) -> io::Result<Found> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(error),
    };
    let held = match file.try_lock_shared() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    if !held && !is_at(&file, path) {
        return Ok(Found::Absent);
    }
    let facts = read_facts(file).map(Box::new);
    Ok(if held { Found::Held(facts) } else { Found::Stale(facts) })
}

fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |about: fs::Metadata| (about.dev(), about.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => identity(ours) == identity(there),
        _ => false,
    }
}

fn read_facts(mut file: File) -> Option<Facts> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn facts(pid: u32) -> Facts {
        Facts {
            pid,
            start_time: "2026-01-01T00:00:00Z".into(),
            version: "0".into(),
            transport: "http".into(),
            host: None,
            port: None,
            socket: None,
            config: "/c".into(),
            dotenv: None,
            argv: vec![],
            executable: None,
            generation_id: "g".into(),
            start_ticks: None,
            boot_id: None,
            uid: 0,
            parent: None,
        }
    }

    #[test]
    fn held_by_one_and_removed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        assert_eq!(look(&path).unwrap(), Found::Absent);
        let mut held = PidFile::take(&path).unwrap();
        assert_eq!(look(&path).unwrap(), Found::Held(None), "not written yet");
        held.write(&facts(7)).unwrap();
        assert_eq!(look(&path).unwrap(), Found::Held(Some(Box::new(facts(7)))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = PidFile::take(&path).unwrap_err().to_string();
        assert!(refused.contains("pid 7"), "{refused}");
        drop(held);
        assert_eq!(look(&path).unwrap(), Found::Absent);
    }

    #[test]
    fn a_stale_one_is_recognised_and_replaced_and_anothers_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        fs::write(&path, serde_json::to_string(&facts(8)).unwrap()).unwrap();
        assert_eq!(look(&path).unwrap(), Found::Stale(Some(Box::new(facts(8)))));
        let first = PidFile::take(&path).unwrap();
        // Somebody cleans up by hand, and a second gateway comes.
        fs::remove_file(&path).unwrap();
        let second = PidFile::take(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_lock_lives_on_in_the_descriptor_that_is_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        let first = PidFile::take(&path).unwrap();
        let fd = first.as_fd().try_clone_to_owned().unwrap();
        // What an exec does to it: it is closed, and not dropped.
        std::mem::forget(first);
        let next = PidFile::adopt(path.clone(), fd);
        assert!(matches!(PidFile::take(&path), Err(NotTaken::Held { .. })));
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn a_link_that_somebody_laid_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (dir.path().join("target"), dir.path().join("x.pid"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(PidFile::take(&path), Err(NotTaken::Io { .. })));
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }
}
