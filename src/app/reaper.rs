//! The duty of process 1: as the first process of a container the gateway inherits what loses its parent, and nobody else
//! would reap that. Mostly there is nothing: shims reap what is below them; but a shim may be killed.

use std::{collections::BTreeSet, time::Duration};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::host::{self, Process, Stat};

/// Children of our own are reaped within milliseconds by those who wait for them; what is seen twice is nobody's.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs as long as the gateway does, and only where it is process 1.
pub async fn reap_orphans() {
    if std::process::id() != 1 {
        return;
    }
    let mut seen = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let zombies: BTreeSet<Process> = host::pids().into_iter().filter_map(zombie_of_ours).collect();
        for process in zombies.intersection(&seen) {
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
                // One that was reaped in this moment is what was wanted.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
        seen = zombies;
    }
}

fn zombie_of_ours(pid: u32) -> Option<Process> {
    let stat = Stat::read(pid).filter(|stat| stat.is_zombie() && stat.parent == std::process::id())?;
    Some(Process { pid, started: stat.started })
}
