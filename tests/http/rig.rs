//! A gateway in a process of its own, and a client that sends the bytes it is told to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for anything that has no time of its own.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway; ended with the value.
pub struct Running {
    child: Child,
    pub dir: TempDir,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

/// The one place that knows how a gateway is started.
pub fn start_gateway(config_yaml: &str) -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("config.yaml"), config_yaml).expect("a config");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hangar"));
    command.args(["serve", "--http", "--port", "0", "--config"]).arg(dir.path().join("config.yaml"));
    for name in ["HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
        command.env(name, dir.path());
    }
    command.env_remove("RUST_LOG").env_remove("RUNTIME_DIRECTORY").env_remove("STATE_DIRECTORY");
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the gateway starts");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if line.contains("gateway_started") {
                let at = line.find("127.0.0.1:").expect("an address");
                let port: String = line[at + 10..].chars().take_while(char::is_ascii_digit).collect();
                let _ = sender.send(format!("127.0.0.1:{port}"));
            }
            eprintln!("{line}");
        }
    });
    let address = address.recv_timeout(PATIENCE).expect("the gateway listens");
    Running { child, dir, address }
}

/// One provider, the test provider, with `options`.
pub fn provider(name: &str, options: &str) -> String {
    format!("  {name}:\n    command: [{}, {options}]\n", env!("CARGO_BIN_EXE_hangar-test-provider"))
}

pub fn with_one_provider() -> Running {
    start_gateway(&format!("providers:\n{}", provider("t", "--log-starts, starts")))
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// Old enough to be taken at once.
    pub fn write_config(&self, yaml: &str) {
        std::fs::write(self.config(), yaml).expect("written");
    }

    pub fn connect(&self) -> Conn {
        Conn::over(TcpStream::connect(&self.address).expect("the gateway accepts"))
    }

    /// One request on a connection of its own. `headers`: lines; `Host` is added unless one of them is it.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut conn = self.connect();
        conn.request(&self.address, method, path, headers, body);
        conn.answer()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &["Content-Type: application/json"], body.to_string().as_bytes())
    }

    /// A session of that revision: its id.
    pub fn session(&self, version: &str) -> String {
        let answer = self.mcp(None, &initialize(version));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let id = answer.header("mcp-session-id").expect("a session").to_owned();
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.mcp(Some(&id), &initialized).status, 202);
        id
    }

    pub fn mcp(&self, session: Option<&str>, message: &Value) -> Answer {
        let mut conn = self.connect();
        conn.mcp(&self.address, session, message);
        conn.answer()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("it lives");
    }

    pub fn wait_for_exit(&mut self) -> std::process::ExitStatus {
        eventually("the gateway ends", || self.child.try_wait().expect("our child"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // The shims end the providers.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

pub const BOTH: &str = "Accept: application/json, text/event-stream";

pub fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "raw", "version": "1"},
    }})
}

pub fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

/// The first value that `look` finds, within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A connection and what was read of it but not used.
pub struct Conn {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

pub trait Stream: Read + Write + Send {
    fn limit(&self, time: Duration);
}

impl Stream for TcpStream {
    fn limit(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("a time");
    }
}

impl Stream for std::os::unix::net::UnixStream {
    fn limit(&self, time: Duration) {
        self.set_read_timeout(Some(time)).expect("a time");
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Conn {
    pub fn over(stream: impl Stream + 'static) -> Self {
        stream.limit(PATIENCE);
        Self { stream: Box::new(stream), read: Vec::new() }
    }

    pub fn limit(&self, time: Duration) {
        self.stream.limit(time);
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn request(&mut self, address: &str, method: &str, path: &str, headers: &[&str], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|line| line.starts_with("Host:")) {
            head += &format!("Host: {address}\r\n");
        }
        headers.iter().for_each(|line| head += &format!("{line}\r\n"));
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send(&[head.as_bytes(), b"\r\n", body].concat());
    }

    pub fn mcp(&mut self, address: &str, session: Option<&str>, message: &Value) {
        let session = session.map(|id| format!("Mcp-Session-Id: {id}"));
        let mut headers = vec!["Content-Type: application/json", BOTH];
        headers.extend(session.as_deref());
        self.request(address, "POST", "/mcp", &headers, message.to_string().as_bytes());
    }

    /// Nothing more comes: `true` when the other end closed, `false` when the time was over.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1024]), Ok(0))
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(n) => {
                self.read.extend_from_slice(&piece[..n]);
                n > 0
            }
            Err(error) => panic!("nothing came: {error}; so far: {}", String::from_utf8_lossy(&self.read)),
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return Some(self.read.drain(..at + end.len()).collect());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more(), "it ended before its time");
        }
        self.read.drain(..length).collect()
    }

    /// Status and headers; the body is still to come.
    pub fn head(&mut self) -> Answer {
        let head = self.until(b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(head).expect("text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let headers = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Answer { status, headers, body: Vec::new() }
    }

    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a length");
            answer.body = self.exactly(length);
        }
        answer
    }

    /// `None`: the last one.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.until(b"\r\n")?;
        let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16).expect("a size");
        let data = self.exactly(size);
        self.exactly(2);
        (size > 0).then_some(data)
    }

    /// The data of the next events of a stream, comments left out. `None`: the stream has ended.
    pub fn events(&mut self) -> Option<Vec<Value>> {
        loop {
            let chunk = String::from_utf8(self.chunk()?).expect("text");
            let found: Vec<_> = data_of(&chunk).collect();
            if !found.is_empty() {
                return Some(found);
            }
        }
    }
}

fn data_of(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).expect("JSON"))
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// All messages of an event stream that is complete.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("text/event-stream"), "{}", self.text());
        data_of(&self.text()).collect()
    }

    pub fn is_json(&self) -> bool {
        self.header("content-type") == Some("application/json")
    }
}
