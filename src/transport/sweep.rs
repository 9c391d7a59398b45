//! Ends what no gateway ends any more: processes found by the marker in their environment, never by program name.
//!
//! A descendant that cleared its environment and whose shim was killed is the one that escapes. Outside Linux nothing is
//! found.

use std::{
    collections::BTreeSet,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Marker, shim};
use crate::host::{self, Environ, Process};

pub const INSTANCE: &str = "HANGAR_INSTANCE";
pub const GENERATION: &str = "HANGAR_GENERATION";
pub const PROVIDER: &str = "HANGAR_PROVIDER";
/// The gateway itself, so that it can be told whether it is dead: see [`host::Owner`].
pub const OWNER: &str = "HANGAR_OWNER";
/// Set for the processes of one connection alone.
pub(super) const CONNECTION: &str = "HANGAR_CONNECTION";

/// The longest `stop.term_s` that there can be, and what a shim takes for SIGKILL.
const LADDER: Duration = Duration::from_secs(60);
/// What SIGKILL does not end is left after this.
const KILL: Duration = Duration::from_secs(2);
/// Between two looks, first and later: each reads all of `/proc`.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOK_EVERY_LATER: Duration = Duration::from_millis(100);
/// One look may miss a process that is just becoming another program.
const LOOKS_IN_VAIN: u32 = 2;

/// Ends what is left of gateways of this instance that are certainly gone, or that were this very process in an earlier
/// life; the number of processes that were told to go. `is_over`: what the state directory knows of a generation. Blocks for as long as the shims among them take.
pub fn sweep(marker: &Marker, is_over: &dyn Fn(&str) -> bool) -> usize {
    let left_over = |environ: &Environ| {
        environ.get(INSTANCE) == Some(&*marker.instance)
            && marker.is_left_over(environ.get(GENERATION), environ.get(OWNER), is_over)
    };
    end(left_over, LADDER, |found, signal| {
        let provider = found.environ.get(PROVIDER).unwrap_or_default();
        tracing::info!(provider, pid = found.process.pid, signal, "process_swept");
    })
}

/// Ends what is left of one connection whose shim is gone. Blocks for up to 2 s.
pub(super) fn sweep_connection(id: &str) -> usize {
    end(|environ| environ.get(CONNECTION) == Some(id), KILL, |_, _| {})
}

/// A process that bears a marker.
struct Found {
    process: Process,
    environ: Environ,
    /// Ends everything below it before it goes.
    shim: bool,
}

fn end(test: impl Fn(&Environ) -> bool, limit: Duration, tell: impl Fn(&Found, &'static str)) -> usize {
    let start = Instant::now();
    let (mut told, mut in_vain) = (BTreeSet::new(), 0);
    loop {
        let found = marked(&test);
        in_vain = if found.is_empty() { in_vain + 1 } else { 0 };
        if in_vain == LOOKS_IN_VAIN || start.elapsed() > limit {
            return told.len();
        }
        let sheltered: BTreeSet<_> = found.iter().filter(|f| f.shim).filter_map(Found::connection).collect();
        for one in &found {
            if one.shim {
                // Its server gets SIGTERM from it, and its time; SIGKILL comes from it, too.
                if told.insert(one.process) {
                    tell(one, "SIGTERM");
                    one.process.signal(Signal::TERM);
                }
            } else if one.connection().is_none_or(|connection| !sheltered.contains(connection)) {
                // A living shim knows its descendants better than any marker does; these have none any more.
                if told.insert(one.process) {
                    tell(one, "SIGKILL");
                }
                one.process.signal(Signal::KILL);
            }
        }
        sleep(if start.elapsed() < KILL { LOOK_EVERY } else { LOOK_EVERY_LATER });
    }
}

/// All processes of ours, but this one, whose first environment satisfies `test`.
fn marked(test: impl Fn(&Environ) -> bool) -> Vec<Found> {
    let own = std::process::id();
    let others = host::pids().into_iter().filter(|pid| *pid != own);
    others
        .filter_map(|pid| {
            // The start time first: if the number is given away in between, no signal is sent.
            let process = Process::of(pid)?;
            let environ = host::environ(pid).filter(&test)?;
            let second = host::arguments(pid).and_then(|line| line.into_iter().nth(1));
            Some(Found { process, environ, shim: second.as_deref() == Some(shim::COMMAND.as_bytes()) })
        })
        .collect()
}

impl Found {
    fn connection(&self) -> Option<&str> {
        self.environ.get(CONNECTION)
    }
}
