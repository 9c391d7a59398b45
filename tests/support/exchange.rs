//! Requests of revision 2026-07-28: what each bears, and one exchange over HTTP on a connection of its own.
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
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

/// An answer, or a stream of messages.
pub struct Exchange {
    pub status: u16,
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
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {VERSION}\r\nMcp-Method: {method}\r\n\
             {name}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        Self { status: head.split(' ').nth(1).unwrap().parse().unwrap(), stream }
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
