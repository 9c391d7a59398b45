//! `server.clients`: each client by the name that it gives itself, over stdio and HTTP, live.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    expose::{TRIO, server},
    gateway::{Gateway, Home, SOON, Value, config, json},
};

const RULES: &str = "clients: [{match: 'claude-*', expose: search}, {match: Cursor, expose: both}]";
const CHANGED: &str = "notifications/tools/list_changed";

/// One MCP session over HTTP by a client of this name.
struct Session {
    address: SocketAddr,
    key: String,
}

impl Session {
    fn open(address: SocketAddr, name: &str) -> Self {
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": name, "version": "1"}});
        let (head, _) =
            post(address, "", &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}));
        let key =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("mcp-session-id: ").map(str::to_owned));
        Self { address, key: key.expect("a session") }
    }

    fn request(&self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": params});
        let (_, body) = post(self.address, &format!("Mcp-Session-Id: {}\r\n", self.key), &request);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    fn tools(&self) -> Vec<String> {
        let list = self.request("tools/list", json!({}));
        list["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Its stream of general messages.
    fn stream(&self) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "GET /mcp HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {}\r\n\r\n",
            self.address, self.key
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        BufReader::new(stream)
    }
}

pub fn post(address: SocketAddr, headers: &str, body: &Value) -> (String, String) {
    let body = body.to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Accept: application/json, text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(address, &head)
}

/// Head and body of the answer.
fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    use std::io::Read;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The next message of a stream; `None`: nothing comes within the time.
pub fn event(stream: &mut BufReader<TcpStream>, within: Duration) -> Option<Value> {
    stream.get_ref().set_read_timeout(Some(within)).unwrap();
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
        if let Some(data) = line.strip_prefix("data: ").filter(|data| data.starts_with('{')) {
            return Some(serde_json::from_str(data).unwrap());
        }
        line.clear();
    }
    None
}

/// Methods of what comes within the time.
pub fn methods(stream: &mut BufReader<TcpStream>, within: Duration) -> Vec<String> {
    let mut methods = Vec::new();
    while let Some(message) = event(stream, within) {
        methods.push(message["method"].as_str().unwrap_or_default().to_owned());
    }
    methods
}

#[test]
fn each_session_gets_tools_as_the_first_rule_for_its_name_says() {
    let home = Home::new();
    let (gateway, address) = over_http(&home, RULES);
    let [claude, cursor, other] = ["Claude-Code", "cursor", "somebody"].map(|name| Session::open(address, name));
    assert_eq!(claude.tools(), TRIO);
    for session in [&cursor, &other] {
        assert!(session.tools().contains(&"a__echo".to_owned()));
    }
    let (head, body) =
        exchange(address, &format!("GET /api/config HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    let told: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {head}"));
    assert_eq!(told["server"]["expose"], "direct");
    assert_eq!(told["server"]["clients"][0], json!({"match": "claude-*", "expose": "search"}));
    // What is not listed can be called.
    let called = claude.request("tools/call", json!({"name": "a__echo", "arguments": {"x": 1}}));
    assert_eq!(called["result"]["content"][0]["text"], "{\"x\":1}");
    gateway.stop();
}

#[test]
fn a_change_of_tools_is_told_to_those_that_list_them_alone() {
    let home = Home::new();
    let (gateway, address) = over_http(&home, RULES);
    let [claude, other] = ["claude-ai", "somebody"].map(|name| Session::open(address, name));
    claude.tools();
    other.tools();
    let (mut quiet, mut told) = (claude.stream(), other.stream());
    other.request("tools/call", json!({"name": "a__add_tool", "arguments": {"name": "more"}}));
    assert_eq!(event(&mut told, SOON).unwrap()["method"], CHANGED);
    assert_eq!(methods(&mut quiet, Duration::from_millis(400)), Vec::<String>::new());
    gateway.stop();
}

#[test]
fn a_reload_of_the_rules_is_told_to_those_whose_tools_change() {
    let home = Home::new();
    let (gateway, address) = over_http(&home, RULES);
    let [claude, cursor] = ["claude-ai", "cursor"].map(|name| Session::open(address, name));
    assert_eq!(claude.tools(), TRIO);
    cursor.tools();
    let (mut still, mut changes) = (claude.stream(), cursor.stream());
    home.put(&config(&home.provider("a", &[], ""), &server("clients: [{match: 'c*', expose: search}]")));
    let reload = json!({"name": "hangar_reload_config", "arguments": {}});
    let report = cursor.request("tools/call", reload)["result"]["structuredContent"].take();
    assert_eq!(report["settings_updated"], json!(["server.clients"]), "{report}");
    assert_eq!(event(&mut changes, SOON).unwrap()["method"], CHANGED);
    assert_eq!((cursor.tools(), claude.tools()), (TRIO.map(str::to_owned).to_vec(), TRIO.map(str::to_owned).to_vec()));
    assert!(!methods(&mut still, Duration::from_millis(400)).contains(&CHANGED.to_owned()));
    gateway.stop();
}

#[test]
fn the_client_on_stdio_has_a_name_too() {
    let home = Home::new();
    let rules = server("expose: search, clients: [{match: 'te?t', expose: direct}]");
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &rules);
    assert!(gateway.client.tools().contains(&"a__echo".to_owned()));
    gateway.reload_to(
        &config(&home.provider("a", &[], ""), &server("expose: search, clients: [{match: tt, expose: direct}]")),
        json!({}),
    );
    gateway.client.wait_messages(CHANGED, 1);
    assert_eq!(gateway.client.tools(), TRIO);
    gateway.stop();
}

fn over_http(home: &std::sync::Arc<Home>, keys: &str) -> (Gateway, SocketAddr) {
    let (gateway, address) = Gateway::over_http_with(home, &home.provider("a", &[], ""), &server(keys));
    (gateway, address)
}
