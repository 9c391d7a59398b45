//! What a gateway that was killed leaves in the runtime directory, removed by whoever outlives it.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    connect::Lock,
    pid_file::{self, Found, PidFile},
};

/// A process that is killed hangs up first and lets go of its locks a moment later.
const DYING: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// `record`: where that gateway, which is gone or about to be, kept its facts. Nothing of one that lives is touched, and
/// nothing of another one. Blocks for 1 s at most.
pub fn clear_after(record: &Path) {
    // Who has none says `-`, which may be a file of the server's.
    if !record.is_absolute() {
        return;
    }
    let until = Instant::now() + DYING;
    loop {
        match pid_file::look(record) {
            Ok(Found::Stale(_)) => break,
            Ok(Found::Held(_)) if Instant::now() < until => sleep(LOOK_EVERY),
            _ => return,
        }
    }
    remove_dead(&record.with_extension("sock"));
    let stem = record.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if let Some((config, pid)) = stem.rsplit_once('-') {
        let beside = |extension: &str| record.with_file_name(format!("{config}.{extension}"));
        clear_connect_socket(&beside("sock"), &beside("lock"));
        let named = beside("pid");
        if matches!(pid_file::look(&named), Ok(Found::Stale(Some(facts))) if facts.pid.to_string() == pid) {
            // Taken and dropped at once: removed under its lock.
            drop(PidFile::take(&named));
        }
    }
    drop(PidFile::take(record));
}

/// Under the lock of its owner: the next gateway may be opening its own in this moment.
fn clear_connect_socket(socket: &Path, lock: &Path) {
    if !socket.exists() {
        return;
    }
    if let Ok(mut lock) = Lock::open(lock.to_owned())
        && lock.try_hold().unwrap_or_default()
    {
        remove_dead(socket);
    }
}

/// A socket that nobody listens on.
pub fn remove_dead(socket: &Path) {
    if UnixStream::connect(socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        // Gone already: as wanted.
        let _ = fs::remove_file(socket);
    }
}
