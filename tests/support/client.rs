//! A raw JSON-RPC client over two pipes: it knows lines, ids and JSON, and no MCP type.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::SOON;

pub struct Client {
    input: Mutex<Option<Box<dyn Write + Send>>>,
    inbox: Arc<Inbox>,
    ids: AtomicU64,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: HashMap<String, mpsc::Sender<Value>>,
    /// Every line as it came.
    lines: Vec<String>,
    ended: bool,
}

/// A request that was sent.
pub struct Pending {
    pub id: u64,
    answer: mpsc::Receiver<Value>,
}

impl Client {
    pub fn new(input: impl Write + Send + 'static, output: impl Read + Send + 'static) -> Self {
        let inbox = Arc::new(Inbox::default());
        let reader = inbox.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                reader.take(line);
            }
            reader.end();
        });
        Self { input: Mutex::new(Some(Box::new(input))), inbox, ids: AtomicU64::new(1000) }
    }

    /// The handshake, with these client capabilities; gives the result.
    pub fn initialize(&self, capabilities: Value) -> Value {
        self.initialize_as("2025-11-25", capabilities)
    }

    pub fn initialize_as(&self, version: &str, capabilities: Value) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": client});
        let result = self.request("initialize", params)["result"].take();
        self.notify("notifications/initialized", json!({}));
        result
    }

    /// One line, as it is.
    pub fn raw(&self, line: &str) {
        let mut input = self.input.lock().unwrap();
        let input = input.as_mut().expect("the client has closed its end");
        // A gateway that has ended says so by the answers that do not come.
        let _ = input.write_all(line.as_bytes()).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush());
    }

    /// Closes our end: the gateway reads end of file.
    pub fn close(&self) {
        drop(self.input.lock().unwrap().take());
    }

    pub fn notify(&self, method: &str, params: Value) {
        self.raw(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
    }

    pub fn send(&self, method: &str, params: Value) -> Pending {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = mpsc::channel();
        self.inbox.state.lock().unwrap().waiting.insert(id.to_string(), sender);
        self.raw(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        Pending { id, answer }
    }

    /// The whole answer.
    pub fn request(&self, method: &str, params: Value) -> Value {
        self.send(method, params).wait()
    }

    pub fn start_tool(&self, name: &str, arguments: Value) -> Pending {
        self.send("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// The CallToolResult.
    pub fn tool(&self, name: &str, arguments: Value) -> Value {
        let mut answer = self.start_tool(name, arguments).wait();
        assert!(answer.get("result").is_some(), "{name}: {answer}");
        answer["result"].take()
    }

    /// The text of the first content block.
    pub fn text(&self, name: &str, arguments: Value) -> String {
        let result = self.tool(name, arguments);
        result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{name}: {result}")).to_owned()
    }

    /// The structured content of a tool that succeeds.
    pub fn structured(&self, name: &str, arguments: Value) -> Value {
        let mut result = self.tool(name, arguments);
        assert_eq!(result["isError"], false, "{name}: {result}");
        result["structuredContent"].take()
    }

    /// The pid that a provider says it has.
    pub fn pid_of(&self, provider: &str) -> u32 {
        self.text(&format!("{provider}__pid"), json!({})).parse().unwrap()
    }

    pub fn list(&self, method: &str) -> Value {
        let mut answer = self.request(method, json!({}));
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The names in `tools/list`.
    pub fn tools(&self) -> Vec<String> {
        let list = self.list("tools/list");
        list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Every line so far, as it came.
    pub fn lines(&self) -> Vec<String> {
        self.inbox.state.lock().unwrap().lines.clone()
    }

    /// Every message so far that has a method: notifications and requests of the gateway.
    pub fn messages(&self, method: &str) -> Vec<Value> {
        let parsed = self.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        parsed.filter(|message| message["method"] == method).collect()
    }

    /// Waits until there are this many messages of a method.
    pub fn wait_messages(&self, method: &str, count: usize) -> Vec<Value> {
        self.wait_for(&format!("{count} of {method}"), |_| Some(self.messages(method)).filter(|m| m.len() >= count))
    }

    /// Waits for a line that fits.
    pub fn wait_line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.wait_for(what, |lines| lines.iter().find(|line| fits(line)).cloned())
    }

    /// Waits until the gateway has closed its end.
    pub fn wait_end(&self) {
        let state = self.inbox.state.lock().unwrap();
        let (state, _) = self.inbox.changed.wait_timeout_while(state, SOON, |state| !state.ended).unwrap();
        assert!(state.ended, "the gateway still holds its stdout");
    }

    fn wait_for<T>(&self, what: &str, found: impl Fn(&[String]) -> Option<T>) -> T {
        let until = Instant::now() + SOON;
        let mut seen = usize::MAX;
        loop {
            let lines = {
                let state = self.inbox.state.lock().unwrap();
                let left = until.saturating_duration_since(Instant::now());
                let wait = |state: &mut State| state.lines.len() == seen;
                let (state, _) = self.inbox.changed.wait_timeout_while(state, left, wait).unwrap();
                state.lines.clone()
            };
            seen = lines.len();
            if let Some(found) = found(&lines) {
                return found;
            }
            assert!(Instant::now() < until, "no {what} among {lines:#?}");
        }
    }
}

impl Inbox {
    fn take(&self, line: String) {
        let mut state = self.state.lock().unwrap();
        if let Ok(message) = serde_json::from_str::<Value>(&line)
            && message.get("method").is_none()
            && let Some(waiting) = message.get("id").and_then(|id| state.waiting.remove(&id.to_string()))
        {
            let _ = waiting.send(message);
        }
        state.lines.push(line);
        self.changed.notify_all();
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap();
        state.ended = true;
        state.waiting.clear();
        self.changed.notify_all();
    }
}

impl Pending {
    /// The whole answer, in time.
    pub fn wait(self) -> Value {
        self.within(SOON).unwrap_or_else(|| panic!("request {} got no answer", self.id))
    }

    pub fn within(&self, time: Duration) -> Option<Value> {
        self.answer.recv_timeout(time).ok()
    }

    /// The message of the JSON-RPC error that it must be answered with.
    pub fn error(self) -> String {
        let answer = self.wait();
        answer["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {answer}")).to_owned()
    }
}
