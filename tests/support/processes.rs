//! The truth about processes, read from `/proc`.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::{collections::BTreeSet, fs, path::Path};

#[path = "being.rs"]
mod being;

pub use being::Being;

/// What wrote itself into a `--pids` file so far.
pub fn recorded(file: &Path) -> BTreeSet<Being> {
    let being = |line: &str| {
        let (pid, started) = line.split_once(' ')?;
        Some(Being { pid: pid.parse().ok()?, started: started.parse().ok()? })
    };
    fs::read_to_string(file).unwrap_or_default().lines().filter_map(being).collect()
}

/// Living processes that bear both texts in their environment, with their command lines.
pub fn bearing(marks: [&str; 2]) -> Vec<(u32, String)> {
    let pids = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment);
            marks.iter().all(|mark| environment.contains(mark)) && Being::of(*pid).is_some()
        })
        .map(|pid| (pid, fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")))
        .collect()
}

/// The parent of a running process.
pub fn parent(pid: u32) -> u32 {
    being::stat(pid).and_then(|fields| fields.get(1)?.parse().ok()).expect("it runs")
}

/// Sends a signal by number, without caring whether it arrives.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    let _ = rustix::process::kill_process(pid, signal);
}
