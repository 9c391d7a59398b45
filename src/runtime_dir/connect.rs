//! The connect socket of a config file, and the two locks around it.
//!
//! `<config>.sock` is where `hangar connect` finds the one gateway that its clients share. Who holds `<config>.lock` owns the
//! socket, for as long as it serves; who holds `<config>.start.lock` is the one client that starts a gateway. The kernel lets
//! go of both when their holder dies. A holder removes its file while it holds it, so whoever locks one looks whether it is
//! still the one that others find.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use super::{candidates, digest, directory, trusted};

/// What a lock file may say, in bytes.
const MAX_NOTE: u64 = 64 * 1024;

/// The name of a config file in the runtime and the state directory.
pub fn key(config: &Path) -> String {
    digest(config)
}

/// Where a gateway of this config file would put its connect socket.
pub fn connect_socket(config: &Path) -> io::Result<PathBuf> {
    Ok(directory()?.join(format!("{}.sock", digest(config))))
}

/// Where its connect socket may be: a gateway may know other variables than this process.
pub fn connect_sockets(config: &Path) -> Vec<PathBuf> {
    let name = format!("{}.sock", digest(config));
    let mut places = candidates(&|name| std::env::var_os(name));
    places.retain(|place| trusted(place).is_ok());
    let mut sockets: Vec<_> = places.into_iter().map(|place| place.join(&name)).collect();
    sockets.dedup();
    sockets
}

/// A lock file. Dropped while it is held: removed.
pub struct Lock {
    file: File,
    pub path: PathBuf,
    held: bool,
}

impl Lock {
    /// Of the gateway that owns the connect socket.
    pub fn owner(config: &Path) -> io::Result<Self> {
        Self::open(directory()?.join(format!("{}.lock", digest(config))))
    }

    /// Of the client that starts a gateway.
    pub fn start(config: &Path) -> io::Result<Self> {
        Self::open(directory()?.join(format!("{}.start.lock", digest(config))))
    }

    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: open(&path)?, path, held: false })
    }

    /// The owner's, held by an earlier life of this process.
    pub fn handed_over(config: &Path, fd: OwnedFd) -> io::Result<Self> {
        let path = directory()?.join(format!("{}.lock", digest(config)));
        Ok(Self { file: fd.into(), path, held: true })
    }

    /// `false`: somebody else holds it.
    pub fn try_hold(&mut self) -> io::Result<bool> {
        loop {
            match self.file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if self.is_found()? {
                self.held = true;
                return Ok(true);
            }
            // Its holder has removed it in between.
            self.file = open(&self.path)?;
        }
    }

    /// Whether the file at its path is this one.
    fn is_found(&self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets go of it and leaves the file, for its note.
    pub fn leave_note(mut self, text: &str) {
        // Whoever cannot read it tries for itself.
        let _ = self.set_note(text);
        self.held = false;
    }

    /// Lets go of it as if it had not been held.
    pub fn leave(mut self) {
        self.held = false;
    }

    /// What its holder left for others to read.
    pub fn note(&self) -> String {
        let mut text = String::new();
        let mut file = &self.file;
        // A note that cannot be read is none.
        let _ = file.rewind().and_then(|()| file.take(MAX_NOTE).read_to_string(&mut text));
        text
    }

    /// Replaces the note; for the holder.
    pub fn set_note(&self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        let mut file = &self.file;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held {
            // Gone already: as wanted.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_its_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let mut first = Lock::open(path.clone()).unwrap();
        let mut second = Lock::open(path.clone()).unwrap();
        assert!(first.try_hold().unwrap());
        first.set_note("1").unwrap();
        assert!(!second.try_hold().unwrap());
        assert_eq!(second.note(), "1");
        drop(first);
        assert!(!path.exists());
        // The one it has open is not the one that others find any more.
        let mut third = Lock::open(path.clone()).unwrap();
        assert!(third.try_hold().unwrap());
        assert!(!second.try_hold().unwrap());
        third.leave_note("failed");
        assert!(second.try_hold().unwrap());
        assert_eq!(second.note(), "failed");
        second.leave();
        assert!(path.exists());
    }
}
