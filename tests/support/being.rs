//! One process, told from every later one of the same number.

use std::fs;

/// One process for good: its number and its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Being {
    pub pid: u32,
    pub started: u64,
}

impl Being {
    /// The running process of this number; a zombie runs no more.
    pub fn of(pid: u32) -> Option<Self> {
        let fields = stat(pid)?;
        let alive = !matches!(fields.first()?.as_str(), "Z" | "X");
        alive.then_some(Self { pid, started: fields.get(19)?.parse().ok()? })
    }

    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The fields of `/proc/PID/stat` behind the name.
pub fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect())
}
