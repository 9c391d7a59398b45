//! `/proc/PID/stat`, as far as it is of use here.

use std::{fs, time::Duration};

/// One look at one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `T`, `Z`, ...
    pub state: char,
    pub parent: u32,
    /// Its process group.
    pub group: i32,
    /// In clock ticks since boot; with the pid it names one process, not the next one of that number.
    pub started: u64,
    /// Processor time used, in clock ticks: its own, and that of children it has reaped is not in it.
    pub cpu_ticks: u64,
    /// Memory that is resident, in pages.
    pub rss_pages: u64,
}

impl Stat {
    /// `None`: there is no such process. A zombie there is.
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Ended, and only waits to be reaped.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Processor time used.
    pub fn cpu(&self) -> Duration {
        ticks(self.cpu_ticks)
    }

    /// From the boot to its start.
    pub fn started_after_boot(&self) -> Duration {
        ticks(self.started)
    }

    pub fn rss_bytes(&self) -> u64 {
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        self.rss_pages.saturating_mul(page)
    }

    /// `PID (NAME) STATE PPID PGRP ... STARTTIME ...`; the name may hold spaces and brackets.
    fn parse(text: &[u8]) -> Option<Self> {
        let after_name = text.iter().rposition(|b| *b == b')')? + 1;
        let fields: Vec<&str> = std::str::from_utf8(text.get(after_name..)?).ok()?.split_ascii_whitespace().collect();
        // Counted from 3 in the manual page.
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |at: usize| field(at)?.parse::<u64>().ok();
        Some(Self {
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            started: number(22)?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            rss_pages: number(24)?,
        })
    }
}

fn ticks(number: u64) -> Duration {
    let a_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(number.saturating_mul(1000) / a_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process_with_brackets_in_its_name_is_read() {
        let text = b"42 (a) b (c) S 7 40 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11\n";
        let stat = Stat::parse(text).unwrap();
        let expected = Stat { state: 'S', parent: 7, group: 40, started: 987_654, cpu_ticks: 11, rss_pages: 11 };
        assert_eq!(stat, expected);
        assert!(!stat.is_zombie() && stat.cpu() < Duration::from_secs(1) && stat.rss_bytes() >= 11 * 4096);
        assert_eq!(Stat::parse(b"42 (cut off) S 7 40"), None);
        assert_eq!(Stat::parse(b""), None);
    }
}
