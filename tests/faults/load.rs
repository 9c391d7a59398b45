//! The neighbours, and their steady load: a few calls of each in flight all the time, each answer looked at and timed.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    gateway::{Client, Home, Value, json, ms},
    remote_process::Remote,
};

/// Callers of a neighbour.
const CALLERS: usize = 2;
/// Between two calls of one caller: a steady load and not a benchmark, the machine is for the fault.
const PAUSE: Duration = ms(4);

/// One on stdio, one over HTTP.
pub struct Neighbours {
    remote: Remote,
}

impl Neighbours {
    pub fn start() -> Self {
        Self { remote: Remote::start(&[]) }
    }

    pub fn yaml(&self, home: &Home) -> String {
        home.provider("near", &[], "max_concurrency: 0") + &self.remote.provider("far", "")
    }
}

#[derive(Default, Clone)]
pub struct Seen {
    pub calls: usize,
    /// Answers that are not what was asked for.
    pub failed: Vec<String>,
    pub worst: Duration,
    /// Of the gateway, in KiB: at the beginning, and most.
    pub resident: (u64, u64),
}

pub struct Load {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    began: Instant,
}

impl Load {
    /// The neighbours have been called once.
    pub fn begin(client: &Arc<Client>, pid: u32) -> Self {
        client.text("near__echo", json!({}));
        client.text("far__echo", json!({"text": "warm"}));
        // Connections for what may come, as a gateway has that serves for a while.
        let warm: Vec<_> = (0..6).map(|_| client.start_tool("far__sleep", json!({"ms": 100}))).collect();
        warm.into_iter().for_each(|call| drop(call.wait()));
        let resident = memory(pid, "VmRSS");
        let seen = Arc::new(Mutex::new(Seen { resident: (resident, resident), ..Seen::default() }));
        let mut load = Self { seen, over: Arc::default(), threads: Vec::new(), began: Instant::now() };
        for caller in 0..CALLERS {
            load.call(client, move |n| ("near__echo", json!({"text": format!("{caller}.{n}")}), 0));
            load.call(client, move |n| ("far__echo", json!({"text": format!("{caller}.{n}")}), 0));
        }
        // So that some are always in flight.
        load.call(client, |_| ("near__sleep", json!({"ms": 50}), 50));
        let (seen, over) = (load.seen.clone(), load.over.clone());
        load.threads.push(thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let now = memory(pid, "VmRSS");
                let mut seen = seen.lock().unwrap();
                seen.resident.1 = seen.resident.1.max(now);
                drop(seen);
                thread::sleep(ms(20));
            }
        }));
        load
    }

    /// `next`: tool, arguments, and the milliseconds that it takes in any case.
    fn call(&mut self, client: &Arc<Client>, next: impl Fn(usize) -> (&'static str, Value, u64) + Send + 'static) {
        let (seen, over, client) = (self.seen.clone(), self.over.clone(), client.clone());
        self.threads.push(thread::spawn(move || {
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (tool, arguments, own) = next(n);
                let began = Instant::now();
                let answer = client.start_tool(tool, arguments.clone()).within(Duration::from_secs(20));
                let took = began.elapsed().saturating_sub(ms(own));
                let answer = answer.unwrap_or_else(|| json!("no answer"));
                let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
                let right = if own > 0 { text == "slept" } else { text.contains(arguments["text"].as_str().unwrap()) };
                let mut seen = seen.lock().unwrap();
                seen.calls += 1;
                seen.worst = seen.worst.max(took);
                if !right {
                    seen.failed.push(answer.to_string());
                }
                drop(seen);
                thread::sleep(PAUSE);
            }
        }));
    }

    /// After so long at the earliest.
    pub fn end(self, least: Duration) -> Seen {
        thread::sleep(least.saturating_sub(self.began.elapsed()));
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.seen.lock().unwrap().clone()
    }
}

/// A line of `/proc/PID/status`, in KiB; 0: the process is gone.
pub fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
