//! The gateways of this user, by the records that they keep in the runtime directories.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    host::{self, Process, Tree},
    runtime_dir::{
        self,
        pid_file::{self, Facts, Found},
    },
    telemetry::in_words,
};

/// One record, and what is known about whom it tells of.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub record: PathBuf,
    pub held: Held,
    /// `None`: it is empty, or of another version.
    pub facts: Option<Facts>,
    /// The very process that wrote it, and this user's. `None` also where that is not to be seen from here.
    pub process: Option<Process>,
    pub uptime: Option<Duration>,
}

/// The lock of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// By a gateway that lives.
    Yes,
    /// It was killed.
    No,
}

/// Of this config file, or of all; newest first. One that ends while it is looked at is left out.
pub fn gateways(config: Option<&Path>, tree: &Tree) -> Vec<Gateway> {
    let boot = host::boot_id();
    let mut found: Vec<Gateway> = runtime_dir::records_of(config)
        .into_iter()
        .filter_map(|record| {
            let (held, facts) = match pid_file::look(&record).ok()? {
                Found::Absent => return None,
                Found::Held(facts) => (Held::Yes, facts.map(|facts| *facts)),
                Found::Stale(facts) => (Held::No, facts.map(|facts| *facts)),
            };
            let process = facts.as_ref().filter(|_| held == Held::Yes).and_then(|facts| identity(facts, &boot, tree));
            let uptime = process.and_then(|process| tree.uptime(process.pid));
            Some(Gateway { record, held, facts, process, uptime })
        })
        .collect();
    // The file's own time changes with a restart in place.
    found.sort_by_key(|gateway| std::cmp::Reverse(gateway.process.map(|process| process.started)));
    found
}

fn identity(facts: &Facts, boot: &Option<String>, tree: &Tree) -> Option<Process> {
    let process = Process { pid: facts.pid, started: facts.start_ticks? };
    let same = boot.is_some() && facts.boot_id == *boot && tree.process(facts.pid) == Some(process);
    let ours = host::uid(facts.pid) == Some(rustix::process::geteuid().as_raw());
    (same && ours).then_some(process)
}

impl Gateway {
    pub fn is_stdio(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.transport == "stdio")
    }

    pub fn is_this_process(&self) -> bool {
        self.process.is_some_and(|process| process.pid == std::process::id())
    }

    /// What pages and tools tell.
    pub fn json(&self) -> Value {
        let facts = self.facts.as_ref();
        let uptime = self.uptime.map(|uptime| uptime.as_secs());
        json!({
            "pid": facts.map(|f| f.pid),
            "uid": facts.map(|f| f.uid),
            "transport": facts.map(|f| &f.transport),
            "host": facts.and_then(|f| f.host.as_ref()),
            "port": facts.and_then(|f| f.port),
            "config": facts.map(|f| &f.config),
            "version": facts.map(|f| &f.version),
            "start_time": facts.map(|f| &f.start_time),
            "uptime_s": uptime,
            "uptime": uptime.map(in_words),
        })
    }
}
