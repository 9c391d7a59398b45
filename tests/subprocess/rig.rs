//! One open connection to a test provider, and the truth about processes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hangar::{
    config::{
        Environment, Launch, Protocol, ProviderName, ProviderSpec, Secret, Sharing, StopTimes, SubprocessSpec,
        ToolFilter,
    },
    transport::{self, Connection, Exit, Inbound, Link, Marker, OutputRing, TransportError},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

#[path = "../support/being.rs"]
mod being;

pub use being::Being;
use being::stat;

pub const PROVIDER: &str = env!("CARGO_BIN_EXE_hangar-test-provider");
/// A ladder that a test can wait for.
pub const STOP: StopTimes = StopTimes { grace: Duration::from_millis(400), term: Duration::from_millis(400) };
/// Longer than anything takes here, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Rig {
    pub link: Arc<dyn Link>,
    exit: std::pin::Pin<Box<dyn Future<Output = Exit> + Send>>,
    pub output: Arc<OutputRing>,
    messages: mpsc::UnboundedReceiver<Value>,
    failures: mpsc::UnboundedReceiver<(Option<u64>, TransportError)>,
    next_id: AtomicU64,
}

struct Inbox {
    messages: mpsc::UnboundedSender<Value>,
    failures: mpsc::UnboundedSender<(Option<u64>, TransportError)>,
}

impl Inbound for Inbox {
    fn message(&self, json: Bytes, _answering: Option<u64>) {
        let _ = self.messages.send(serde_json::from_slice(&json).unwrap_or(Value::Null));
    }

    fn failed(&self, id: Option<u64>, error: TransportError) {
        let _ = self.failures.send((id, error));
    }
}

impl Rig {
    /// The test provider with these options.
    pub async fn start(options: &[&str]) -> Self {
        let argv: Vec<&str> = std::iter::once(PROVIDER).chain(options.iter().copied()).collect();
        Self::open(spec(&argv, &[])).await.unwrap()
    }

    pub async fn open(spec: ProviderSpec) -> Result<Self, TransportError> {
        Self::open_marked(spec, "test-instance", "test-generation").await
    }

    pub async fn open_marked(spec: ProviderSpec, instance: &str, generation: &str) -> Result<Self, TransportError> {
        transport::set_shim_executable(env!("CARGO_BIN_EXE_hangar"));
        let (messages, received) = mpsc::unbounded_channel();
        let (failures, failed) = mpsc::unbounded_channel();
        let output = Arc::new(OutputRing::default());
        let marker = Marker { instance: instance.into(), generation: generation.into() };
        let name = ProviderName::new("math").unwrap();
        let inbox = Arc::new(Inbox { messages, failures });
        let Connection { link, exit, .. } = transport::open(&name, &spec, &marker, Arc::clone(&output), inbox).await?;
        Ok(Self { link, exit, output, messages: received, failures: failed, next_id: AtomicU64::new(1) })
    }

    pub fn send(&self, method: &str, params: &Value) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.link.send(Bytes::from(message.to_string()), Some(id)).unwrap();
        id
    }

    pub fn call(&self, tool: &str, arguments: &Value) -> u64 {
        self.send("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    pub async fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = timeout(SOON, self.messages.recv()).await.expect("an answer in time").expect("a reader");
            if message["id"] == id {
                return message;
            }
        }
    }

    /// The text a tool answers.
    pub async fn text(&mut self, tool: &str, arguments: Value) -> String {
        let id = self.call(tool, &arguments);
        let answer = self.answer(id).await;
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub async fn failure(&mut self) -> (Option<u64>, TransportError) {
        timeout(SOON, self.failures.recv()).await.expect("a failure in time").expect("a reader")
    }

    pub async fn exit(&mut self) -> Exit {
        timeout(SOON, &mut self.exit).await.expect("an end in time")
    }

    /// Everything that was delivered and not asked for yet.
    pub fn delivered(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.messages.try_recv().ok()).collect()
    }

    /// Drops the whole connection.
    pub fn drop_connection(self) {}
}

pub fn spec(argv: &[&str], env: &[(&str, &str)]) -> ProviderSpec {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect();
    ProviderSpec {
        launch: Launch::Subprocess(SubprocessSpec {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            args_at: hangar::config::ArgsAt(1),
            cwd: PathBuf::from("/"),
            environment: Environment { env, ..Environment::default() },
        }),
        description: None,
        idle_ttl: Duration::ZERO,
        health_check_interval: Duration::ZERO,
        max_consecutive_failures: 3,
        crash_budget: 5,
        breaker: hangar::config::Breaker::OF_PROVIDER,
        max_concurrency: None,
        startup_timeout: SOON,
        call_timeout: SOON,
        drain_timeout: SOON,
        stop: STOP,
        protocol: Protocol::Auto,
        sharing: Sharing::Shared,
        max_instances: 64,
        max_queued: 1024,
        max_answer: None,
        max_call_time: Duration::from_secs(600),
        max_message: 16 << 20,
        tools: ToolFilter::default(),
        enabled: true,
    }
}

impl Being {
    pub fn parent(self) -> u32 {
        stat(self.pid).and_then(|f| f.get(1)?.parse().ok()).expect("it runs")
    }
}

/// What wrote itself into a `--pids` file so far.
pub fn recorded(file: &Path) -> BTreeSet<Being> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let being = |line: &str| {
        let (pid, started) = line.split_once(' ')?;
        Some(Being { pid: pid.parse().ok()?, started: started.parse().ok()? })
    };
    text.lines().filter_map(being).collect()
}

/// Polls until `condition` gives something.
pub async fn eventually<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
