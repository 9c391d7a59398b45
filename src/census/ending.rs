//! Ends one process for good, in order if it goes in order.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::time::sleep;

use super::Role;
use crate::host::{Process, Tree};

/// A gateway's own stop takes 45 s at most (CONTRACT section 7).
const LIMIT: Duration = Duration::from_secs(50);
/// The longest `stop.term_s` that there can be.
const LADDER: Duration = Duration::from_secs(60);
/// What SIGKILL does not end within this waits for a disk that does not answer.
const KILL: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It had gone already.
    Gone,
    Terminated,
    Killed,
    Survived,
}

impl Ended {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "was gone already",
            Self::Terminated => "SIGTERM",
            Self::Killed => "SIGKILL",
            Self::Survived => "survived",
        }
    }
}

/// SIGTERM, and SIGCONT, for it may be stopped; SIGKILL when it takes longer than a stop may take. Its providers' shims do
/// the rest. Reaches this process and no later one of its number.
pub async fn end_gateway(process: Process) -> Ended {
    end(process, LIMIT).await
}

/// Ends processes of dead gateways: shims among them are told SIGTERM and end everything below them by their own ladder;
/// what no shim shelters is killed. This process and what stands above it are left out.
pub async fn end_left_over(processes: Vec<Process>) -> Vec<(Process, Ended)> {
    let tree = Tree::look();
    let spared = tree.with_all_above(std::process::id());
    let doomed: Vec<Process> = processes.into_iter().filter(|process| !spared.contains(&process.pid)).collect();
    let is_shim = |process: &&Process| Role::of(process.pid) == Role::Shim;
    let shims: Vec<Process> = doomed.iter().filter(is_shim).copied().collect();
    for shim in &shims {
        shim.signal(Signal::TERM);
        shim.signal(Signal::CONT);
    }
    let start = Instant::now();
    let mut killed = BTreeSet::new();
    // Every ladder at the same time; each ends with SIGKILL from its shim.
    while doomed.iter().any(|process| process.lives()) && start.elapsed() < LADDER + KILL {
        let tree = Tree::look();
        let patient = start.elapsed() < LADDER;
        let living = shims.iter().filter(|shim| patient && shim.lives());
        let sheltered: BTreeSet<u32> = living.flat_map(|shim| tree.with_all_below(shim.pid)).collect();
        for process in doomed.iter().filter(|process| !sheltered.contains(&process.pid)) {
            if process.signal(Signal::KILL) {
                killed.insert(*process);
            }
        }
        sleep(LOOK_EVERY).await;
    }
    let outcome = |process: Process| match (process.lives(), killed.contains(&process)) {
        (true, _) => Ended::Survived,
        (false, true) => Ended::Killed,
        (false, false) => Ended::Terminated,
    };
    doomed.into_iter().map(|process| (process, outcome(process))).collect()
}

async fn end(process: Process, limit: Duration) -> Ended {
    // One that waits to be reaped takes signals, and is gone all the same.
    if !process.lives() {
        return Ended::Gone;
    }
    if !process.signal(Signal::TERM) {
        return if process.lives() { Ended::Survived } else { Ended::Gone };
    }
    process.signal(Signal::CONT);
    if gone_within(process, limit).await {
        return Ended::Terminated;
    }
    process.signal(Signal::KILL);
    if gone_within(process, KILL).await { Ended::Killed } else { Ended::Survived }
}

async fn gone_within(process: Process, limit: Duration) -> bool {
    let start = Instant::now();
    while process.lives() {
        if start.elapsed() > limit {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Child, Command, Stdio},
    };

    use super::*;

    fn child(script: &str) -> (Child, Process) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = Process::of(child.id()).unwrap();
        (child, process)
    }

    #[tokio::test]
    async fn one_that_is_stopped_is_woken_and_one_that_ignores_sigterm_is_killed() {
        let (mut polite, process) = child("echo up; read x");
        assert!(process.signal(Signal::STOP));
        assert_eq!(end(process, Duration::from_secs(10)).await, Ended::Terminated);
        assert_eq!(end(process, Duration::from_secs(10)).await, Ended::Gone);
        polite.wait().unwrap();
        let (mut stubborn, process) = child("trap '' TERM; echo up; read x; sleep 20");
        assert_eq!(end(process, Duration::from_millis(200)).await, Ended::Killed);
        stubborn.wait().unwrap();
    }
}
