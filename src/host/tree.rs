//! Who stands below whom: one look at every process.

use std::{collections::BTreeMap, time::Duration};

use super::{Process, Stat, pids, since_boot};

/// All processes at one moment; zombies are left out.
pub struct Tree {
    stats: BTreeMap<u32, Stat>,
    children: BTreeMap<u32, Vec<u32>>,
    now: Option<Duration>,
}

/// What a process and everything below it use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub processes: usize,
    pub cpu: Duration,
    /// Resident; memory that several of them share is counted for each.
    pub memory_bytes: u64,
}

impl Tree {
    pub fn look() -> Self {
        let mut tree = Self { stats: BTreeMap::new(), children: BTreeMap::new(), now: since_boot() };
        for pid in pids() {
            let Some(stat) = Stat::read(pid).filter(|stat| !stat.is_zombie()) else { continue };
            tree.children.entry(stat.parent).or_default().push(pid);
            tree.stats.insert(pid, stat);
        }
        tree
    }

    pub fn stat(&self, pid: u32) -> Option<&Stat> {
        self.stats.get(&pid)
    }

    pub fn process(&self, pid: u32) -> Option<Process> {
        self.stat(pid).map(|stat| Process { pid, started: stat.started })
    }

    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.stats.keys().copied()
    }

    pub fn children(&self, pid: u32) -> &[u32] {
        self.children.get(&pid).map(Vec::as_slice).unwrap_or_default()
    }

    /// Itself first, and everything below it.
    pub fn with_all_below(&self, pid: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut open = vec![pid];
        while let Some(next) = open.pop() {
            // The numbers of a system that gives false parents could go round in circles.
            if self.stats.contains_key(&next) && !found.contains(&next) {
                found.push(next);
                open.extend(self.children(next));
            }
        }
        found
    }

    /// Itself and everything above it.
    pub fn with_all_above(&self, pid: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut next = Some(pid);
        while let Some(pid) = next.filter(|pid| !found.contains(pid)) {
            found.push(pid);
            next = self.stat(pid).map(|stat| stat.parent);
        }
        found
    }

    pub fn usage(&self, pids: &[u32]) -> Usage {
        let stats = pids.iter().filter_map(|pid| self.stat(*pid));
        stats.fold(Usage::default(), |sum, stat| Usage {
            processes: sum.processes + 1,
            cpu: sum.cpu + stat.cpu(),
            memory_bytes: sum.memory_bytes.saturating_add(stat.rss_bytes()),
        })
    }

    /// How long a process has been running.
    pub fn uptime(&self, pid: u32) -> Option<Duration> {
        self.now?.checked_sub(self.stat(pid)?.started_after_boot())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_shell_and_its_child_are_one_tree() {
        let mut shell = std::process::Command::new("/bin/sh")
            .args(["-c", "/bin/sleep 20 & echo up; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 3];
        std::io::Read::read_exact(&mut shell.stdout.take().unwrap(), &mut line).unwrap();
        let tree = Tree::look();
        let all = tree.with_all_below(shell.id());
        assert_eq!((all[0], all.len()), (shell.id(), 2));
        assert!(tree.with_all_below(std::process::id()).len() > 2);
        let usage = tree.usage(&all);
        assert!(usage.processes == 2 && usage.memory_bytes > 0, "{usage:?}");
        assert!(tree.uptime(shell.id()).unwrap() < Duration::from_secs(10));
        assert_eq!(tree.stat(all[1]).unwrap().parent, shell.id());
        assert!(tree.process(all[1]).unwrap().signal(rustix::process::Signal::KILL));
        shell.wait().unwrap();
        assert!(Tree::look().with_all_below(shell.id()).is_empty());
    }
}
