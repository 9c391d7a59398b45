//! `server.limits.held_bytes`: what all clients together have sent and not been answered, or not read yet.

use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Home, HttpSession, UNWATCHED},
    rig::{BOTH, Running, call, eventually, start_gateway},
};

const JSON: &str = "Content-Type: application/json";

fn start(home: &std::sync::Arc<Home>, most: usize) -> (Gateway, std::net::SocketAddr) {
    let settings = format!("{UNWATCHED}server: {{limits: {{held_bytes: {most}}}}}\n");
    Gateway::over_http_with(home, &home.provider("t", &[], ""), &settings)
}

#[test]
fn bodies() {
    let home = Home::new();
    let (_gateway, address) = start(&home, 100_000);
    let mut session = HttpSession::open(address);
    let bare = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"fill": ""}});
    let mut ping = |bytes: usize| {
        let mut body = bare.clone();
        body["params"]["fill"] = json!("x".repeat(bytes - bare.to_string().len()));
        session.post("/mcp", &body)
    };
    assert_eq!((ping(99_999).0, ping(100_000).0), (200, 200));
    let (status, refused) = ping(100_001);
    let refused: Value = serde_json::from_str(&refused).unwrap();
    assert_eq!((status, &refused["error"]["code"]), (503, &json!(-32051)), "{refused}");
    let data = &refused["error"]["data"];
    assert_eq!(
        (&data["error"], &data["fault"], &data["held_bytes"]),
        (&json!("no_room"), &json!("internal"), &json!(100_000))
    );
    assert!(refused["error"]["message"].as_str().unwrap().contains("server.limits.held_bytes"), "{refused}");
    assert_eq!(ping(100_000).0, 200, "nothing of it is left");
}

#[test]
fn answers() {
    let home = Home::new();
    let (_gateway, address) = start(&home, 100_000);
    let mut session = HttpSession::open(address);
    // On one connection: what was sent before is dropped when the next one is read.
    let mut big = |bytes: usize| session.post("/mcp", &call(7, "t__big", &json!({"bytes": bytes}))).1;
    let envelope = big(70_000).len() - 70_000;
    for bytes in [99_999, 100_000] {
        assert_eq!(big(bytes - envelope).len(), bytes);
    }
    let refused: Value = serde_json::from_str(&big(100_001 - envelope)).unwrap();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(7), &json!(-32051)), "{refused}");
    assert!(
        refused["error"]["message"].as_str().unwrap().starts_with("the answer of 100001 bytes was dropped"),
        "{refused}"
    );
    assert_eq!(refused["error"]["data"]["error"], "no_room");
    assert_eq!(big(100_000 - envelope).len(), 100_000, "nothing of it is left");
}

/// One that does not read keeps others from more than there is room for, in either form of an answer, until it reads.
#[test]
fn answers_that_are_not_read() {
    const LARGE: u64 = 14_000_000;
    for accept in [BOTH, "Accept: text/event-stream"] {
        let yaml = format!(
            "server: {{limits: {{held_bytes: 16000000}}}}\nproviders:\n{}",
            crate::rig::provider("t", "--name, t")
        );
        let gateway: Running = start_gateway(&yaml);
        let session = format!("Mcp-Session-Id: {}", gateway.session("2025-11-25"));
        let large = call(1, "t__big", &json!({"bytes": LARGE})).to_string();
        let mut late = gateway.connect();
        late.request(&gateway.address, "POST", "/mcp", &[JSON, accept, &session], large.as_bytes());
        let again = call(2, "t__big", &json!({"bytes": LARGE})).to_string();
        let ask = || gateway.ask("POST", "/mcp", &[JSON, BOTH, &session], again.as_bytes()).text();
        eventually("there is no room", || ask().contains("no_room").then_some(()));
        let small = call(3, "t__echo", &json!({})).to_string();
        assert!(gateway.ask("POST", "/mcp", &[JSON, BOTH, &session], small.as_bytes()).text().contains("result"));
        assert!(late.answer().text().len() > LARGE as usize, "whole");
        eventually("there is room again", || (ask().len() > LARGE as usize).then_some(()));
    }
}
