//! Ends what no shim ends any more: processes that outlived their shim, found by the marker in their environment.
//!
//! Never by program name. A descendant that cleared its environment and whose shim was killed is the one that escapes.
//! Outside Linux nothing is found.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Marker, shim};
use crate::host::{self, Environ, Process};

/// Set for the processes of one connection alone.
pub(super) const CONNECTION: &str = "HANGAR_CONNECTION";
pub(super) const INSTANCE: &str = "HANGAR_INSTANCE";
pub(super) const GENERATION: &str = "HANGAR_GENERATION";

/// A shim that is told to kill is gone within milliseconds; what SIGKILL does not end is left after this.
const LIMIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Ends every process of earlier gateways of this instance; the number of processes found. Blocks for up to 2 s.
///
/// To be called at start, while the instance lock is held: only then is every other generation a dead one.
pub fn sweep(marker: &Marker) -> usize {
    end(|environ| {
        environ.get(INSTANCE) == Some(&*marker.instance) && environ.get(GENERATION) != Some(&*marker.generation)
    })
}

/// Ends what is left of one connection whose shim is gone. Blocks for up to 2 s.
pub(super) fn sweep_connection(id: &str) -> usize {
    end(|environ| environ.get(CONNECTION) == Some(id))
}

fn end(test: impl Fn(&Environ) -> bool) -> usize {
    let start = Instant::now();
    let mut most = 0;
    loop {
        let found = marked(&test);
        most = most.max(found.len());
        if found.is_empty() || start.elapsed() > LIMIT {
            return most;
        }
        let shims: Vec<_> = found.iter().filter(|p| is_shim(p.pid)).collect();
        // A living shim knows its descendants better than any marker does.
        let signal = if shims.is_empty() { Signal::KILL } else { Signal::QUIT };
        for process in if shims.is_empty() { found.iter().collect() } else { shims } {
            process.signal(signal);
        }
        sleep(LOOK_EVERY);
    }
}

/// All processes of ours, but this one, whose first environment satisfies `test`.
fn marked(test: impl Fn(&Environ) -> bool) -> Vec<Process> {
    let own = std::process::id();
    let others = host::pids().into_iter().filter(|pid| *pid != own);
    // The start time first: if the number is given away in between, no signal is sent.
    others.filter_map(Process::of).filter(|p| host::environ(p.pid).is_some_and(|environ| test(&environ))).collect()
}

/// It is a shim, which ends everything below it before it goes.
fn is_shim(pid: u32) -> bool {
    host::arguments(pid).is_some_and(|line| line.get(1).is_some_and(|word| word == shim::COMMAND.as_bytes()))
}
