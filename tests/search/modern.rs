//! The same for clients of revision 2026-07-28: each request says who asks, over HTTP and on stdio.

use std::{
    io::{BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    expose::{TRIO, server},
    gateway::{Gateway, Home, SOON, Value, json},
    rules::{event, methods, post},
};

const VERSION: &str = "2026-07-28";
const RULES: &str = "clients: [{match: 'claude-*', expose: search}]";

fn params(name: &str, more: Value) -> Value {
    let mut params = more;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"},
    });
    params
}

fn headers(method: &str, parameters: &Value) -> String {
    let named = parameters["name"].as_str().map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
    format!("MCP-Protocol-Version: {VERSION}\r\nMcp-Method: {method}\r\n{named}")
}

fn ask(address: SocketAddr, name: &str, method: &str, parameters: Value) -> Value {
    let headers = headers(method, &parameters);
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params(name, parameters)});
    let (_, answer) = post(address, &headers, &body);
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn names(answer: &Value) -> Vec<&str> {
    answer["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// A stream of `subscriptions/listen`, past its acknowledgement.
fn listen(address: SocketAddr, name: &str) -> BufReader<TcpStream> {
    let method = "subscriptions/listen";
    let params = params(name, json!({"notifications": {"toolsListChanged": true}}));
    let body = json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params}).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         {}Content-Length: {}\r\n\r\n{body}",
        headers(method, &json!({})),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    assert_eq!(event(&mut stream, SOON).unwrap()["method"], "notifications/subscriptions/acknowledged");
    stream
}

#[test]
fn each_request_gets_tools_as_the_rule_for_its_client_says() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http_with(&home, &home.provider("a", &[], ""), &server(RULES));
    let list = |name: &str| ask(address, name, "tools/list", json!({}));
    let (claude, other) = (list("claude-ai"), list("somebody"));
    assert_eq!(names(&claude), TRIO);
    assert_eq!(claude["result"]["resultType"], "complete");
    assert!(names(&other).contains(&"a__echo"), "{other}");
    let instructions = |name: &str| ask(address, name, "server/discover", json!({}))["result"]["instructions"].take();
    assert!(instructions("claude-ai").as_str().unwrap().contains("hangar_search_tools"));
    assert!(instructions("somebody").as_str().unwrap().contains("<provider>__<tool>"));
    for name in ["hangar_search_tools", "a__echo"] {
        let called = ask(address, "claude-ai", "tools/call", json!({"name": name, "arguments": {"query": "echo"}}));
        assert_eq!(called["result"]["resultType"], "complete", "{called}");
    }
    gateway.stop();
}

#[test]
fn a_client_that_can_be_asked_is_known_by_its_name_too() {
    let home = Home::new();
    let settings = server(&format!("control_tools: [], {RULES}"));
    let (gateway, address) = Gateway::over_http_with(&home, &home.provider("a", &[], ""), &settings);
    let call = |name: &str| {
        let arguments = json!({"name": "hangar_search_tools", "arguments": {"query": "echo"}});
        let headers = headers("tools/call", &arguments);
        let mut params = params(name, arguments);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        let (_, answer) =
            post(address, &headers, &json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}));
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    assert_eq!(call("claude-ai")["result"]["structuredContent"]["tools"][0]["tool"], "echo");
    assert_eq!(call("somebody")["error"]["code"], -32602);
    gateway.stop();
}

#[test]
fn who_listens_is_told_of_tools_that_it_lists_and_of_a_change_of_the_way() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http_with(&home, &home.provider("a", &[], ""), &server(RULES));
    ask(address, "somebody", "tools/list", json!({}));
    let (mut quiet, mut told) = (listen(address, "claude-ai"), listen(address, "somebody"));
    ask(address, "somebody", "tools/call", json!({"name": "a__add_tool", "arguments": {"name": "more"}}));
    assert_eq!(event(&mut told, SOON).unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(methods(&mut quiet, Duration::from_millis(400)), Vec::<String>::new());
    home.put(&crate::gateway::config(&home.provider("a", &[], ""), &server("expose: direct")));
    ask(address, "somebody", "tools/call", json!({"name": "hangar_reload_config", "arguments": {}}));
    assert_eq!(event(&mut quiet, SOON).unwrap()["method"], "notifications/tools/list_changed");
    gateway.stop();
}

#[test]
fn both_eras_on_one_stdio_stream_each_by_its_own_name() {
    let home = Home::new();
    // The session's own name is `test`.
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &server(RULES));
    assert!(gateway.client.tools().contains(&"a__echo".to_owned()));
    let modern = gateway.client.request("tools/list", params("claude-desktop", json!({})));
    assert_eq!(names(&modern), TRIO);
    let unnamed = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    assert!(names(&gateway.client.request("tools/list", unnamed)).contains(&"a__echo"));
    gateway.stop();
}

/// What depends on who asks is nobody else's to keep.
#[test]
fn where_clients_list_different_tools_no_list_of_tools_is_public() {
    for (rules, scope) in [("", "public"), (RULES, "private")] {
        // A remembered catalogue has no hints.
        let home = Home::new();
        let a = home.provider("a", &["--era", "modern", "--ttl-ms", "60000", "--cache-scope", "public"], "");
        let (gateway, address) = Gateway::over_http_with(&home, &a, &server(rules));
        let list = ask(address, "somebody", "tools/list", json!({}))["result"].take();
        assert_eq!(list["cacheScope"], scope, "{rules}");
        assert!(list["ttlMs"].as_u64().unwrap() > 0);
        assert_eq!(ask(address, "somebody", "prompts/list", json!({}))["result"]["cacheScope"], "public");
        let three = |_| ask(address, "claude-ai", "tools/list", json!({})).to_string();
        if !rules.is_empty() {
            // The same bytes, so nothing in it counts down.
            assert_eq!(three(1), three(2));
            assert!(three(3).contains("\"ttlMs\":0"));
        }
        gateway.stop();
    }
}
