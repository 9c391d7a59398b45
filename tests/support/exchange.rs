//! Requests of revision 2026-07-28: what each bears, and one exchange over HTTP on a connection of its own.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::gateway::SOON;

pub const VERSION: &str = "2026-07-28";
pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// `parameters` with the envelope of a client that has `capabilities`.
pub fn params(mut parameters: Value, capabilities: Value) -> Value {
    let meta = &mut parameters["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!(VERSION);
    meta[CAPABILITIES] = capabilities;
    parameters
}

/// One request on a connection of its own: the head of its answer, in lower case, and what follows. `headers`: whole lines;
/// `patience`: for each read.
pub fn exchange(
    address: SocketAddr,
    verb: &str,
    headers: &str,
    body: &str,
    patience: Duration,
) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    let head = format!(
        "{verb} /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Accept: application/json, text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    (head.to_ascii_lowercase(), stream)
}

/// An answer, or a stream of messages.
pub struct Exchange {
    pub status: u16,
    pub head: String,
    stream: BufReader<TcpStream>,
}

impl Exchange {
    pub fn start(address: SocketAddr, method: &str, params: &Value) -> Self {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        let key = match method {
            "tools/call" | "prompts/get" => "name",
            "resources/read" => "uri",
            _ => "taskId",
        };
        let name = params[key].as_str().map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
        let headers = format!("MCP-Protocol-Version: {VERSION}\r\nMcp-Method: {method}\r\n{name}");
        Self::send("POST", address, &headers, &body)
    }

    /// `headers`: whole lines.
    pub fn send(verb: &str, address: SocketAddr, headers: &str, body: &str) -> Self {
        let (head, stream) = exchange(address, verb, headers, body, SOON);
        Self { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, stream }
    }

    /// Status and answer; of a stream its last message.
    pub fn answer(mut self) -> (u16, Value) {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).unwrap();
        let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        let json = last.unwrap_or(&text);
        (self.status, serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The next message of a stream.
    pub fn event(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).unwrap(), 0, "the stream has ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

/// A client with a session whose every request is an exchange of its own.
#[derive(Clone)]
pub struct Legacy {
    address: SocketAddr,
    key: String,
}

impl Legacy {
    pub fn open(address: SocketAddr, capabilities: Value) -> Self {
        let info = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let hello = Exchange::send("POST", address, "", &body.to_string());
        let key = hello.head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).unwrap().to_owned();
        Self { address, key }
    }

    pub fn start(&self, method: &str, params: Value) -> Exchange {
        static IDS: AtomicU64 = AtomicU64::new(100);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.post(&body)
    }

    pub fn post(&self, message: &Value) -> Exchange {
        Exchange::send("POST", self.address, &format!("Mcp-Session-Id: {}\r\n", self.key), &message.to_string())
    }

    /// The whole answer.
    pub fn request(&self, method: &str, params: Value) -> Value {
        self.start(method, params).answer().1
    }

    pub fn text(&self, tool: &str, arguments: Value) -> String {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The stream of messages that belong to no call.
    pub fn listen(&self) -> Exchange {
        Exchange::send("GET", self.address, &format!("Mcp-Session-Id: {}\r\n", self.key), "")
    }

    pub fn end(&self) {
        let ended = Exchange::send("DELETE", self.address, &format!("Mcp-Session-Id: {}\r\n", self.key), "");
        assert_eq!(ended.status, 204);
    }
}
