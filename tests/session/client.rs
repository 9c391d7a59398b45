//! A client over HTTP: its session, each request on a connection of its own, and the stream for what belongs to no call.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    exchange,
    gateway::{SOON, Value, eventually, json},
};

pub const MODERN: &str = "2026-07-28";

#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    key: Arc<str>,
    ids: Arc<AtomicU64>,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Client {
    pub fn open(address: SocketAddr, capabilities: Value) -> Self {
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello});
        let (head, _) = exchange(address, "POST", &[], &body.to_string());
        let key = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).expect("a session");
        Self { address, key: key.into(), ids: Arc::default(), heard: Arc::default() }
    }

    /// Keeps what comes on the stream of general messages.
    pub fn listen(&self) {
        let (mut head, mut stream) = exchange(self.address, "GET", &[("Mcp-Session-Id", &self.key)], "");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let heard = self.heard.clone();
        thread::spawn(move || {
            loop {
                head.clear();
                match stream.read_line(&mut head) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => heard.lock().unwrap().extend(data(&head)),
                }
            }
        });
    }

    /// Everything of this method that came on that stream.
    pub fn heard(&self, method: &str) -> Vec<Value> {
        self.heard.lock().unwrap().iter().filter(|message| message["method"] == method).cloned().collect()
    }

    pub fn wait_heard(&self, method: &str) -> Value {
        eventually(method, SOON, || self.heard(method).first().cloned())
    }

    /// The whole answer; what the gateway asks on the call's own stream is answered by `answer`.
    pub fn request_with(&self, method: &str, params: &Value, answer: impl Fn(&Value) -> Value) -> Value {
        let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let (head, mut stream) = exchange(self.address, "POST", &[("Mcp-Session-Id", &self.key)], &body.to_string());
        if !head.contains("text/event-stream") {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            return serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {head}{text}"));
        }
        loop {
            let mut line = String::new();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream of {method} has ended");
            let Some(message) = data(&line) else { continue };
            match message.get("method") {
                None => return message,
                Some(_) if message.get("id").is_some() => self.answer(&message, &answer(&message)),
                Some(_) => self.heard.lock().unwrap().push(message),
            }
        }
    }

    pub fn request(&self, method: &str, params: &Value) -> Value {
        self.request_with(method, params, |asked| panic!("asked for {asked}"))
    }

    pub fn answer(&self, request: &Value, result: &Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}));
    }

    pub fn notify(&self, method: &str, params: &Value) {
        self.say(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn say(&self, message: &Value) {
        let (head, _) = exchange(self.address, "POST", &[("Mcp-Session-Id", &self.key)], &message.to_string());
        assert!(head.starts_with("http/1.1 202"), "{head}");
    }

    pub fn call(&self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    pub fn text(&self, tool: &str, arguments: Value) -> String {
        text(&self.call(tool, arguments))
    }

    pub fn pid(&self) -> u32 {
        self.text("a__pid", json!({})).parse().unwrap()
    }

    pub fn wake(&self) {
        self.pid();
    }

    pub fn tools(&self) -> Vec<String> {
        let list = self.request("tools/list", &json!({}));
        list["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
    }

    pub fn delete(&self) {
        let (head, _) = exchange(self.address, "DELETE", &[("Mcp-Session-Id", &self.key)], "");
        assert!(head.starts_with("http/1.1 204"), "{head}");
    }
}

/// One request of a client without session.
pub fn modern(address: SocketAddr, method: &str, params: &Value, capabilities: &Value) -> Value {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let name = body["params"]["name"].as_str().unwrap_or_default().to_owned();
    let mut headers = vec![("MCP-Protocol-Version", MODERN), ("Mcp-Method", method)];
    if !name.is_empty() {
        headers.push(("Mcp-Name", &name));
    }
    let (head, mut stream) = exchange(address, "POST", &headers, &body.to_string());
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let found = if head.contains("text/event-stream") { text.lines().filter_map(data).next_back() } else { None };
    found.unwrap_or_else(|| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

pub fn text(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn data(line: &str) -> Option<Value> {
    serde_json::from_str(line.strip_prefix("data: ")?).ok()
}

/// The head, in lower case, and what follows.
pub fn exchange(
    address: SocketAddr,
    verb: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (String, BufReader<TcpStream>) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    exchange::exchange(address, verb, &headers, body, SOON * 3)
}
