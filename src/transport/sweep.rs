//! Ends what no shim ends any more: processes that outlived their shim, found by the marker in their environment.
//!
//! Never by program name. A descendant that cleared its environment and whose shim was killed is the one that escapes.
//! Outside Linux nothing is found.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Marker, shim::descendants};

/// Set for the processes of one connection alone.
pub(super) const CONNECTION: &str = "HANGAR_CONNECTION";

/// A shim that is told to kill is gone within milliseconds; what SIGKILL does not end is left after this.
const LIMIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Ends every process of earlier gateways of this instance; the number of processes found. Blocks for up to 2 s.
///
/// To be called at start, while the instance lock is held: only then is every other generation a dead one.
pub fn sweep(marker: &Marker) -> usize {
    let instance = format!("HANGAR_INSTANCE={}", marker.instance);
    let generation = format!("HANGAR_GENERATION={}", marker.generation);
    end(|environment| environment.contains(&instance.as_bytes()) && !environment.contains(&generation.as_bytes()))
}

/// Ends what is left of one connection whose shim is gone. Blocks for up to 2 s.
pub(super) fn sweep_connection(id: &str) -> usize {
    let connection = format!("{CONNECTION}={id}");
    end(|environment| environment.contains(&connection.as_bytes()))
}

fn end(test: impl Fn(&[&[u8]]) -> bool) -> usize {
    let start = Instant::now();
    let mut most = 0;
    loop {
        let found = descendants::marked(&test);
        most = most.max(found.len());
        if found.is_empty() || start.elapsed() > LIMIT {
            return most;
        }
        let shims: Vec<_> = found.iter().filter(|p| p.is_shim()).collect();
        if shims.is_empty() {
            found.iter().for_each(|p| p.signal(Signal::KILL));
        } else {
            // A living shim knows its descendants better than any marker does.
            shims.iter().for_each(|p| p.signal(Signal::QUIT));
        }
        sleep(LOOK_EVERY);
    }
}
