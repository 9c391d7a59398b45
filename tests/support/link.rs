//! A test's end of a remote link: the server process, and a client that speaks just enough MCP.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hangar::{
    config::{
        Auth, Launch, Protocol, ProviderName, ProviderSpec, RemoteSpec, RemoteTransport, Sharing, StopTimes, Tls,
        ToolFilter,
    },
    transport::{self, Close, Connection, Exit, Inbound, Marker, OutputRing, TransportError},
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The test remote; ends with this value.
pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

/// One open connection and everything that came in on it.
pub struct Client {
    pub connection: Connection,
    seen: Arc<Seen>,
    next: AtomicU64,
}

#[derive(Default)]
struct Seen {
    messages: Mutex<Vec<(Value, Option<u64>)>>,
    failures: Mutex<Vec<(Option<u64>, TransportError)>>,
    changes: watch::Sender<u64>,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hangar-test-remote"));
        let mut child =
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the test remote starts");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut address).expect("its address");
        Self { child, address: address.trim().to_owned() }
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/mcp", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn remote_spec(endpoint: &str) -> RemoteSpec {
    RemoteSpec {
        endpoint: endpoint.into(),
        transport: RemoteTransport::StreamableHttp,
        headers: Default::default(),
        auth: Auth::None,
        tls: Tls::default(),
    }
}

fn provider_spec(remote: RemoteSpec) -> ProviderSpec {
    ProviderSpec {
        launch: Launch::Remote(remote),
        description: None,
        idle_ttl: Duration::ZERO,
        health_check_interval: Duration::ZERO,
        max_consecutive_failures: 3,
        crash_budget: 5,
        breaker: hangar::config::Breaker::OF_PROVIDER,
        max_concurrency: None,
        startup_timeout: Duration::from_secs(10),
        call_timeout: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(10),
        stop: StopTimes::default(),
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

impl Inbound for Seen {
    fn message(&self, json: Bytes, answering: Option<u64>) {
        let message = serde_json::from_slice(&json).unwrap_or(Value::Null);
        self.messages.lock().unwrap().push((message, answering));
        self.changes.send_modify(|n| *n += 1);
    }

    fn failed(&self, id: Option<u64>, error: TransportError) {
        self.failures.lock().unwrap().push((id, error));
        self.changes.send_modify(|n| *n += 1);
    }
}

impl Client {
    pub async fn open(remote: RemoteSpec) -> Result<Self, TransportError> {
        let seen = Arc::new(Seen::default());
        let name = ProviderName::new("remote").expect("a name");
        let marker = Marker { instance: "test".into(), generation: "1".into() };
        let output = Arc::new(OutputRing::default());
        let connection = transport::open(&name, &provider_spec(remote), &marker, output, seen.clone()).await?;
        Ok(Self { connection, seen, next: AtomicU64::new(1) })
    }

    /// Opened and through the handshake.
    pub async fn ready(server: &Server) -> Self {
        let client = Self::open(remote_spec(&server.url("http"))).await.expect("opens");
        client.handshake("2025-11-25").await;
        client
    }

    /// `notifications/initialized` is sent and not waited for, as a gateway does.
    pub async fn handshake(&self, version: &str) {
        self.initialize(version).await.expect("initialised");
        self.initialized();
    }

    pub async fn initialize(&self, version: &str) -> Result<(), TransportError> {
        let info = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": info});
        let id = self.request("initialize", params)?;
        self.outcome(id).await?;
        self.connection.link.negotiated(version);
        Ok(())
    }

    pub fn initialized(&self) {
        self.tell(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    pub fn tell(&self, message: Value) {
        self.connection.link.send(message.to_string().into(), None).expect("sent");
    }

    pub fn start(&self, tool: &str, args: Value) -> u64 {
        self.try_start(tool, args).expect("sent")
    }

    pub fn try_start(&self, tool: &str, args: Value) -> Result<u64, TransportError> {
        self.request("tools/call", json!({"name": tool, "arguments": args}))
    }

    fn request(&self, method: &str, params: Value) -> Result<u64, TransportError> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.connection.link.send(message.to_string().into(), Some(id)).map(|()| id)
    }

    pub async fn call(&self, tool: &str, args: Value) -> Result<Value, TransportError> {
        self.outcome(self.try_start(tool, args)?).await
    }

    pub async fn text(&self, tool: &str, args: Value) -> Result<String, TransportError> {
        self.text_of(self.try_start(tool, args)?).await
    }

    pub async fn text_of(&self, id: u64) -> Result<String, TransportError> {
        let answer = self.outcome(id).await?;
        let text = answer["result"]["content"][0]["text"].as_str();
        Ok(text.unwrap_or_else(|| panic!("no text: {answer}")).to_owned())
    }

    pub async fn stats(&self) -> Value {
        serde_json::from_str(&self.text("stats", json!({})).await.expect("stats")).expect("JSON")
    }

    async fn outcome(&self, id: u64) -> Result<Value, TransportError> {
        let mut found = None;
        self.until(|client| {
            found = client.answer(id).map(Ok).or_else(|| client.failure(id).map(Err));
            found.is_some()
        })
        .await;
        found.expect("an outcome")
    }

    fn answer(&self, id: u64) -> Option<Value> {
        let messages = self.seen.messages.lock().unwrap();
        messages.iter().find(|(m, _)| m["id"] == id && m.get("method").is_none()).map(|(m, _)| m.clone())
    }

    pub fn failure(&self, id: u64) -> Option<TransportError> {
        let failures = self.seen.failures.lock().unwrap();
        failures.iter().find(|(about, _)| *about == Some(id)).map(|(_, e)| e.clone())
    }

    /// Every message so far, with the request in whose response it came.
    pub fn messages(&self) -> Vec<(Value, Option<u64>)> {
        self.seen.messages.lock().unwrap().clone()
    }

    pub async fn message(&self, wanted: impl Fn(&Value, Option<u64>) -> bool) -> (Value, Option<u64>) {
        let mut found = None;
        self.until(|client| {
            found = client.messages().into_iter().find(|(m, about)| wanted(m, *about));
            found.is_some()
        })
        .await;
        found.expect("a message")
    }

    pub fn assert_each_answered_once(&self) {
        let messages = self.messages();
        for id in 1..self.next.load(Ordering::SeqCst) {
            assert_eq!(messages.iter().filter(|(m, _)| m["id"] == id).count(), 1, "request {id}");
        }
    }

    /// Looks again whenever something came in, and every 10 ms.
    pub async fn until(&self, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        let mut changes = self.seen.changes.subscribe();
        while !done(self) {
            assert!(Instant::now() < deadline, "nothing of the kind came: {:?}", self.seen.failures.lock().unwrap());
            let _ = tokio::time::timeout(Duration::from_millis(10), changes.changed()).await;
        }
    }

    /// Until the server holds so many of our GET streams.
    pub async fn until_listeners(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.stats().await["listeners"] != count {
            assert!(Instant::now() < deadline, "no notification stream");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn close(self, how: Close) -> Exit {
        self.connection.link.close(how);
        self.connection.exit.await
    }
}
