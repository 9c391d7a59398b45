//! What gateways that were killed have left behind, ended at the start of the next one.
//!
//! Several gateways may share a state directory, and so an instance: only what belongs to one that is certainly gone is
//! touched. One starter at a time; the others find nothing left to do when it is their turn.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use super::lives::Lives;
use crate::transport::{self, Marker};

/// The one before may have to wait for a whole stop ladder.
const TURN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends by itself; nothing waits for it. `lock`: a file of the state directory; without one this instance has no past.
pub async fn sweep(lock: Option<PathBuf>, lives: Lives, marker: Marker) {
    let Some(path) = lock else { return };
    let turn = tokio::task::spawn_blocking(move || hold(&path)).await;
    let _turn = match turn {
        Ok(Ok(file)) => file,
        Ok(Err(error)) => return tracing::warn!(%error, "sweep_left_out"),
        // The runtime ends.
        Err(_) => return,
    };
    let (of_processes, known) = (marker.clone(), lives.clone());
    let sweep = move || transport::sweep(&of_processes, &|generation| known.is_over(generation));
    let processes = tokio::task::spawn_blocking(sweep);
    let is_over = |generation: &str| lives.is_over(generation);
    let containers = transport::sweep_containers(&marker, &is_over);
    // Either may take long, and one need not wait for the other.
    let (processes, containers) = tokio::join!(processes, containers);
    let processes = processes.unwrap_or_default();
    if processes + containers > 0 {
        tracing::info!(processes, containers, "left_overs_swept");
    }
}

/// Locked until it is dropped.
fn hold(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).mode(0o600).open(path)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < TURN => sleep(LOOK_EVERY),
            Err(error) => return Err(io::Error::other(format!("{}: {error}", path.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sweep.lock");
        let first = hold(&path).unwrap();
        let second = std::thread::spawn({
            let path = path.clone();
            move || hold(&path)
        });
        sleep(Duration::from_millis(200));
        assert!(!second.is_finished());
        drop(first);
        assert!(second.join().unwrap().is_ok());
        assert!(hold(&dir.path().join("no/such/place")).is_err());
    }
}
