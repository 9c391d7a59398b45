//! What the gateway's process holds, from `/proc`, over time.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::Path,
    time::Instant,
};

use serde_json::{Value, json};

/// At one moment. Memory in kiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub rss: u64,
    /// The part of it that is no file's.
    pub anonymous: u64,
    pub fds: usize,
    pub threads: usize,
    pub children: usize,
    /// Clock ticks of processor time so far: of the gateway itself, and of all that it has started and that has ended.
    pub cpu: u64,
    pub children_cpu: u64,
}

impl Sample {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the gateway lives");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let stat: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        let times = |at: usize| stat.get(at..at + 2).map_or(0, |pair| pair.iter().sum());
        Self {
            rss: field("VmRSS:"),
            anonymous: field("RssAnon:"),
            fds: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
            threads: usize::try_from(field("Threads:")).unwrap_or(0),
            children: children(pid).len(),
            cpu: times(11),
            children_cpu: times(13),
        }
    }
}

fn children(pid: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// A file of JSON lines, one a sample, and the samples themselves.
pub struct Log {
    file: File,
    began: Instant,
    pub samples: Vec<(f64, Sample)>,
}

impl Log {
    pub fn new(path: &Path) -> Self {
        let file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { file, began: Instant::now(), samples: Vec::new() }
    }

    pub fn take(&mut self, phase: &str, pid: u32, load: &Value) -> Sample {
        let (sample, at) = (Sample::of(pid), self.began.elapsed().as_secs_f64());
        let Sample { rss, anonymous, fds, threads, children, cpu, children_cpu } = sample;
        let line = json!({
            "s": (at * 10.0).round() / 10.0, "phase": phase, "rss_kib": rss, "anonymous_kib": anonymous, "fds": fds,
            "threads": threads, "children": children, "cpu_ticks": cpu, "children_cpu_ticks": children_cpu, "load": load
        });
        writeln!(self.file, "{line}").expect("the samples can be written");
        if phase == "load" {
            self.samples.push((at, sample));
        }
        sample
    }

    /// Least squares over the second half of the load: kiB an hour.
    pub fn slope(&self, value: impl Fn(&Sample) -> u64) -> f64 {
        let half = &self.samples[self.samples.len() / 2..];
        let count = half.len() as f64;
        let mean = |of: &dyn Fn(&(f64, Sample)) -> f64| half.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(&|(at, _)| *at), mean(&|(_, sample)| value(sample) as f64));
        let above: f64 = half.iter().map(|(at, sample)| (at - x) * (value(sample) as f64 - y)).sum();
        let below: f64 = half.iter().map(|(at, _)| (at - x).powi(2)).sum();
        if below == 0.0 { 0.0 } else { above / below * 3600.0 }
    }

    pub fn range(&self, value: impl Fn(&Sample) -> u64) -> (u64, u64) {
        let values = || self.samples.iter().map(|(_, sample)| value(sample));
        (values().min().unwrap_or(0), values().max().unwrap_or(0))
    }
}
