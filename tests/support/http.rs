//! A raw HTTP/1.1 client on one kept-alive connection: as much as a session of calls needs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};

use super::SOON;

/// One MCP session on a connection of its own.
pub struct HttpSession {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    session: Option<String>,
    next_id: u64,
}

impl HttpSession {
    /// Connected, past the handshake.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_with(address, json!({}))
    }

    /// With these client capabilities.
    pub fn open_with(address: SocketAddr, capabilities: Value) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut session = Self { stream: BufReader::new(stream), address, session: None, next_id: 1 };
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client});
        assert!(session.request("initialize", params).get("result").is_some());
        assert!(session.session.is_some(), "the handshake gives a session");
        session
    }

    /// The same session on a new connection.
    pub fn reconnect(&mut self) {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        self.stream = BufReader::new(stream);
    }

    /// As other connections name the session.
    pub fn key(&self) -> String {
        self.session.clone().unwrap_or_default()
    }

    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    pub fn request(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let message = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        let (status, body) = self.post("/mcp", &message);
        assert_eq!(status, 200, "{method}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{method}: {error}: {body}"))
    }

    /// Status and body. For answers with a `Content-Length`.
    pub fn post(&mut self, path: &str, body: &Value) -> (u16, String) {
        let body = body.to_string();
        let session = self.session.iter().map(|key| format!("Mcp-Session-Id: {key}\r\n")).collect::<String>();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> (u16, String) {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "mcp-session-id" => self.session = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}
