//! The shipped binary as a black box: a directory of its own, one gateway process in it, one raw JSON client on its stdio.
//!
//! Nothing here knows the gateway's types. Every wait polls a condition or a channel against a deadline.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

#[path = "client.rs"]
mod client;
#[path = "http.rs"]
mod http;
#[path = "processes.rs"]
pub mod processes;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

#[allow(unused_imports, reason = "each test binary uses its own part of the harness")]
pub use client::{Client, Pending};
#[allow(unused_imports, reason = "the same")]
pub use http::HttpSession;
#[allow(unused_imports, reason = "the same")]
pub use processes::{Being, signal};
pub use rustix::process::Signal;
pub use serde_json::{Value, json};

pub const PROVIDER: &str = env!("CARGO_BIN_EXE_hangar-test-provider");
/// Longer than anything takes here, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// The watcher is off in tests that are not about it, so that it does not reload in between.
pub const UNWATCHED: &str = "config_reload: {enabled: false}\n";

/// A directory of one test: configuration, state, logs. Outlives gateways, so that a test can start a second one.
pub struct Home {
    root: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Arc<Self> {
        let root = tempfile::Builder::new().prefix("hangar-test-").tempdir().unwrap();
        for dir in ["conf", "state", "run", "logs"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        Arc::new(Self { root })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("conf/config.yaml")
    }

    /// One line of YAML: a test provider that logs its starts and its processes. `keys`: more of the provider's keys.
    pub fn provider(&self, name: &str, args: &[&str], keys: &str) -> String {
        let (starts, pids) = (self.path(&format!("logs/{name}.starts")), self.path(&format!("logs/{name}.pids")));
        let own = ["--name", name, "--lifetime", "120", "--log-starts", starts.to_str().unwrap()];
        let argv: Vec<&str> = [PROVIDER]
            .into_iter()
            .chain(own)
            .chain(["--pids", pids.to_str().unwrap()])
            .chain(args.iter().copied())
            .collect();
        let stop = if keys.contains("stop:") { "" } else { "stop: {grace_s: 1, term_s: 0.5}, " };
        format!("  {name}: {{command: {}, {stop}{keys}}}\n", json!(argv))
    }

    /// `start` and `stop` lines of a provider, oldest first, as `(started, pid)`.
    pub fn starts(&self, name: &str) -> Vec<(bool, u32)> {
        let text = fs::read_to_string(self.path(&format!("logs/{name}.starts"))).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(w, pid)| (w == "start", pid.parse().unwrap()))
            .collect()
    }

    pub fn start_count(&self, name: &str) -> usize {
        self.starts(name).iter().filter(|(started, _)| *started).count()
    }

    /// Every process that the provider and what it started have recorded.
    pub fn beings(&self, name: &str) -> Vec<Being> {
        processes::recorded(&self.path(&format!("logs/{name}.pids"))).into_iter().collect()
    }

    /// Living processes that a gateway of this home started: shims and providers, by their environment.
    pub fn leftovers(&self) -> Vec<(u32, String)> {
        processes::bearing([self.root.path().to_str().unwrap(), "HANGAR_GENERATION="])
    }

    /// Fails unless everything is gone within the time, also what cleared its environment.
    pub fn assert_nothing_left(&self, within: Duration) {
        eventually("no process of a provider is left", within, || {
            let logs = fs::read_dir(self.path("logs")).unwrap().flatten().map(|entry| entry.path());
            let pids = logs.filter(|path| path.extension().is_some_and(|e| e == "pids"));
            let alive = pids.flat_map(|file| processes::recorded(&file)).any(Being::lives);
            (!alive && self.leftovers().is_empty()).then_some(())
        });
    }

    /// Fails if two processes of the provider ever lived at the same time; gives how many there were. For providers that
    /// end in an orderly way.
    pub fn assert_never_two(&self, name: &str) -> usize {
        let mut live = None;
        for (started, pid) in self.starts(name) {
            match (started, live) {
                (true, None) => live = Some(pid),
                (false, Some(running)) if running == pid => live = None,
                _ => panic!("{name}: lives overlap: {:?}", self.starts(name)),
            }
        }
        self.start_count(name)
    }

    /// Fails unless every process of the provider that began has also ended in an orderly way.
    pub fn assert_starts_equal_stops(&self, name: &str) {
        let starts = self.starts(name);
        let stops = starts.iter().filter(|(started, _)| !started).count();
        assert_eq!(stops * 2, starts.len(), "{name}: {starts:?}");
    }

    /// Writes the configuration in place, old enough to be taken at once.
    pub fn put(&self, yaml: &str) {
        put(&self.config(), yaml);
    }
}

/// Writes a file in place and makes it look settled, so that a reload need not wait for it to be.
pub fn put(path: &Path, text: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
}

/// One running gateway; killed when dropped.
pub struct Gateway {
    pub home: Arc<Home>,
    pub client: Client,
    child: Child,
    log: Arc<Mutex<String>>,
    /// Reads the log to its end.
    reader: thread::JoinHandle<()>,
}

impl Gateway {
    /// A gateway with these providers (YAML lines) and the watcher switched off; its client is past the handshake.
    pub fn start(home: &Arc<Home>, providers: &str) -> Self {
        Self::with_settings(home, providers, UNWATCHED)
    }

    pub fn with_settings(home: &Arc<Home>, providers: &str, settings: &str) -> Self {
        home.put(&config(providers, settings));
        Self::again(home)
    }

    /// A gateway on the configuration that is there.
    pub fn again(home: &Arc<Home>) -> Self {
        let gateway = Self::spawn(home);
        gateway.client.initialize(json!({}));
        gateway
    }

    /// Started, nothing said to it yet.
    pub fn spawn(home: &Arc<Home>) -> Self {
        Self::spawn_on(home, &home.config())
    }

    pub fn spawn_on(home: &Arc<Home>, config: &Path) -> Self {
        Self::spawn_with(home, config, &[])
    }

    /// Over HTTP, on a port of the system's choice. Its stdio client is of no use.
    pub fn over_http(home: &Arc<Home>, providers: &str) -> (Self, SocketAddr) {
        Self::over_http_with(home, providers, UNWATCHED)
    }

    pub fn over_http_with(home: &Arc<Home>, providers: &str, settings: &str) -> (Self, SocketAddr) {
        home.put(&config(providers, settings));
        let gateway = Self::spawn_with(home, &home.config(), &["--http", "--port", "0"]);
        gateway.wait_for_log("gateway_started");
        let log = gateway.log();
        let address = log.split("address=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let address = address.parse().unwrap_or_else(|_| panic!("no address in {log}"));
        (gateway, address)
    }

    /// On the configuration that is there, with these options of `serve`. Its stdio client has said nothing.
    pub fn spawn_options(home: &Arc<Home>, options: &[&str]) -> Self {
        Self::spawn_with(home, &home.config(), options)
    }

    pub fn spawn_with(home: &Arc<Home>, config: &Path, options: &[&str]) -> Self {
        Self::spawn_in(home, config, options, &[])
    }

    /// With these variables beside the few that it gets in any case.
    pub fn spawn_in(home: &Arc<Home>, config: &Path, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hangar"))
            .args(["serve", "--config"])
            .arg(config)
            .args(options)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)))
            .env("HOME", home.root.path())
            .env("TMPDIR", home.path("run"))
            .env("XDG_STATE_HOME", home.path("state"))
            .env("XDG_RUNTIME_DIR", home.path("run"))
            .envs(variables.iter().copied())
            .current_dir(home.root.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, stderr) = (log.clone(), child.stderr.take().unwrap());
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        let client = Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { home: home.clone(), client, child, log, reader }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, wanted: Signal) {
        signal(self.pid(), wanted);
    }

    /// Everything written to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), SOON, || self.log().contains(text).then_some(()));
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the gateway has ended", within, || child.try_wait().unwrap());
        // Its last lines may still be on their way through the pipe.
        eventually("its log is at its end", SOON, || self.reader.is_finished().then_some(()));
        status
    }

    /// SIGTERM, exit code 0, and nothing left of any provider.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait_exit(SOON).code(), Some(0), "{}", self.log());
        self.home.assert_nothing_left(Duration::ZERO);
    }

    /// Puts these providers in force through `hangar_reload_config`; the report.
    pub fn reload(&self, providers: &str) -> Value {
        self.reload_to(&config(providers, UNWATCHED), json!({}))
    }

    /// Puts this text in force through `hangar_reload_config` with these arguments; the report, good or bad.
    pub fn reload_to(&self, yaml: &str, arguments: Value) -> Value {
        self.home.put(yaml);
        self.client.tool("hangar_reload_config", arguments)["structuredContent"].take()
    }

    /// The entry of a provider in `hangar_list`; null when there is none.
    pub fn provider(&self, name: &str) -> Value {
        let list = self.client.structured("hangar_list", json!({}));
        list["providers"].as_array().unwrap().iter().find(|p| p["provider"] == name).cloned().unwrap_or_default()
    }

    pub fn state(&self, name: &str) -> String {
        self.provider(name)["state"].as_str().unwrap_or("gone").to_owned()
    }

    pub fn wait_state(&self, name: &str, state: &str) {
        eventually(&format!("{name} is {state}"), SOON, || (self.state(name) == state).then_some(()));
    }

    /// Sum of `config_reloads_total` over all triggers, and the lines themselves.
    pub fn reloads(&self) -> (u64, String) {
        let metrics = self.client.structured("hangar_metrics", json!({"filter": "config_reloads_total{"}));
        let lines = metrics["metrics"].as_str().unwrap().to_owned();
        let sum = lines.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum::<f64>();
        (sum as u64, lines)
    }

    pub fn generation(&self) -> u64 {
        self.client.structured("hangar_status", json!({}))["generation"].as_u64().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of the gateway ---\n{}", self.log());
        }
        // The shims end the providers.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn config(providers: &str, settings: &str) -> String {
    match providers {
        "" => format!("{settings}providers: {{}}\n"),
        _ => format!("{settings}providers:\n{providers}"),
    }
}

/// Polls until `condition` gives something.
pub fn eventually<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Watches a condition that must hold all the time.
pub fn holds_for(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(condition(), "{what}: after {:?}", start.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// As `sha256sum` prints it.
pub fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
