//! What is taken over HTTP.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::rig::{BOTH, Running, call, eventually, provider, start_gateway};

const JSON: &str = "Content-Type: application/json";

fn gateway(limits: &str) -> Running {
    start_gateway(&format!("server: {{limits: {{{limits}}}}}\nproviders:\n{}", provider("t", "--name, t")))
}

/// A ping of exactly so many bytes.
fn ping(bytes: usize) -> String {
    let bare = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"fill": ""}}).to_string();
    bare.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - bare.len())))
}

#[test]
fn bodies() {
    let gateway = gateway("request_bytes: 2000");
    let session = format!("Mcp-Session-Id: {}", gateway.session("2025-11-25"));
    let status = |bytes| gateway.ask("POST", "/mcp", &[JSON, BOTH, &session], ping(bytes).as_bytes());
    assert_eq!(status(1999).status, 200);
    assert_eq!(status(2000).status, 200);
    let refused = status(2001);
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("2000 bytes (server.limits.request_bytes)"), "{}", refused.text());
    // In force at once.
    let raised = std::fs::read_to_string(gateway.config()).unwrap().replace("2000", "2001");
    gateway.write_config(&raised);
    let report = gateway.post_json("/api/config/reload", &json!({}));
    assert_eq!(report.json()["restart_required"], json!([]), "{}", report.text());
    assert_eq!((status(2001).status, status(2002).status), (200, 413));
    assert_eq!(gateway.get("/api/config").json()["server"]["limits"]["request_bytes"], 2001);
}

#[test]
fn heads() {
    let gateway = gateway("header_bytes: 8192");
    let answer = |gateway: &crate::rig::Running, bytes: usize| {
        let start = format!("GET /health/live?x=y HTTP/1.1\r\nHost: {}\r\nX-Filler: ", gateway.address);
        let head = format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4));
        assert_eq!(head.len(), bytes);
        let mut conn = gateway.connect();
        conn.try_send(head.as_bytes());
        conn.answer()
    };
    for (bytes, status) in [(8191, 200), (8192, 200), (8193, 431), (200_000, 431)] {
        assert_eq!(answer(&gateway, bytes).status, status, "{bytes}");
    }
    let refused = answer(&gateway, 8193).text();
    assert!(refused.contains("8192 bytes (server.limits.header_bytes)"), "{refused}");
    let raised = std::fs::read_to_string(gateway.config()).unwrap().replace("8192", "8193");
    gateway.write_config(&raised);
    gateway.post_json("/api/config/reload", &json!({}));
    assert_eq!((answer(&gateway, 8193).status, answer(&gateway, 8194).status), (200, 431));
}

#[test]
fn times_of_heads_and_bodies() {
    let gateway = gateway("header_timeout_s: 2, request_timeout_s: 2");
    let began = Instant::now();
    let mut half = gateway.connect();
    half.send(b"POST /mcp HTTP/1.1\r\nHost: ");
    let mut body = gateway.connect();
    body.request(&gateway.address, "POST", "/mcp", &[JSON, BOTH, "Content-Length: 100"], b"");
    let refused = body.answer();
    assert_eq!(refused.status, 408, "{}", refused.text());
    assert!(refused.text().contains("within 2 s (server.limits.request_timeout_s)"), "{}", refused.text());
    assert!(half.is_closed());
    assert!((1.9..20.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    // Who is quick enough is served.
    let mut quick = gateway.connect();
    quick.send(b"GET /health/live HTTP/1.1\r\n");
    thread::sleep(Duration::from_millis(400));
    quick.send(format!("Host: {}\r\n\r\n", gateway.address).as_bytes());
    assert_eq!(quick.answer().status, 200);
}

#[test]
fn connections() {
    let gateway = gateway("connections: 3");
    assert_eq!(gateway.get("/api/status").json()["restart_required"], json!([]), "it has just begun");
    let alive = |conn: &mut crate::rig::Conn| {
        conn.request(&gateway.address, "GET", "/health/live", &[], b"");
    };
    let mut held: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    for conn in &mut held {
        alive(conn);
        assert_eq!(conn.answer().status, 200);
    }
    let mut fourth = gateway.connect();
    alive(&mut fourth);
    fourth.limit(Duration::from_millis(500));
    assert!(!fourth.is_closed(), "it waits, neither served nor refused");
    held.pop();
    fourth.limit(Duration::from_secs(20));
    assert_eq!(fourth.answer().status, 200);
    // The command line has a door of its own; the number itself waits for a restart.
    let text = std::fs::read_to_string(gateway.config()).unwrap().replace("connections: 3", "connections: 4");
    gateway.write_config(&text);
    held.pop();
    let report = gateway.post_json("/api/config/reload", &json!({})).json();
    assert_eq!(report["restart_required"], json!(["server.limits.connections"]), "{report}");
}

#[test]
fn sessions() {
    let gateway = gateway("sessions: 3");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(gateway.session("2025-11-25"));
        // Who was silent longest is told in seconds.
        thread::sleep(Duration::from_millis(1100));
    }
    let alive = |key: &String| gateway.mcp(Some(key), &ping).status == 200;
    assert!(sessions.iter().rev().all(alive), "as many as there may be");
    thread::sleep(Duration::from_millis(1100));
    assert!(alive(&sessions[0]) && alive(&sessions[2]));
    sessions.push(gateway.session("2025-11-25"));
    let left: Vec<bool> = sessions.iter().map(alive).collect();
    assert_eq!(left, [true, false, true, true], "the one that was silent longest is gone");
    assert_eq!(gateway.get("/api/status").json()["sessions"], 3);
}

#[test]
fn requests_in_flight() {
    let gateway = gateway("in_flight: 2");
    let session = gateway.session("2025-11-25");
    let sleep = |id: u64| {
        let mut conn = gateway.connect();
        conn.mcp(&gateway.address, Some(&session), &call(id, "t__sleep", &json!({"ms": 3000})));
        conn
    };
    let running: Vec<_> = [1, 2].map(sleep).into();
    let both = || (gateway.get("/api/providers/t").json()["calls_in_flight"] == 2).then_some(());
    eventually("both run", both);
    let refused = gateway.mcp(Some(&session), &call(3, "t__echo", &json!({}))).json();
    let told = &refused["error"];
    assert_eq!((told["code"].as_i64(), &refused["id"]), (Some(-32051), &json!(3)), "{refused}");
    assert!(told["message"].as_str().unwrap().contains("server.limits.in_flight"), "{refused}");
    let data = json!({"error": "too_many_requests", "fault": "downstream", "in_flight": 2, "retry_after_ms": 1000});
    assert_eq!(told["data"], data);
    // Whether somebody is there can be asked in any case, and other clients are others.
    let ping = json!({"jsonrpc": "2.0", "id": 4, "method": "ping"});
    assert_eq!(gateway.mcp(Some(&session), &ping).json()["result"], json!({}));
    let other = gateway.session("2025-11-25");
    assert!(gateway.mcp(Some(&other), &call(5, "t__echo", &json!({}))).json()["result"].is_object());
    for mut conn in running {
        assert_eq!(conn.answer().json()["result"]["content"][0]["text"], "slept");
    }
    assert!(gateway.mcp(Some(&session), &call(6, "t__echo", &json!({}))).json()["result"].is_object());
}

#[test]
fn batches() {
    let gateway = gateway("batch: 4");
    let session = gateway.session("2025-03-26");
    let batch = |count: u64| {
        let pings = (0..count).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "ping"}));
        gateway.mcp(Some(&session), &Value::Array(pings.collect())).json()
    };
    assert_eq!(batch(3).as_array().map(Vec::len), Some(3));
    assert_eq!(batch(4).as_array().map(Vec::len), Some(4));
    let refused = batch(5);
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("more than 4 messages (server.limits.batch)"));
}

/// Large answers, on their way to clients that read them, and to some that do not.
#[test]
fn answers_that_wait() {
    let gateway = gateway("waiting_bytes: 1000000");
    let session = format!("Mcp-Session-Id: {}", gateway.session("2025-11-25"));
    let ids = std::cell::Cell::new(1000);
    let ask = |bytes: usize, accept: &str| {
        let mut conn = gateway.connect();
        let body = call(ids.replace(ids.get() + 1), "t__big", &json!({"bytes": bytes})).to_string();
        conn.request(&gateway.address, "POST", "/mcp", &[JSON, accept, &session], body.as_bytes());
        conn
    };
    let (json, events) = ("Accept: application/json", "Accept: text/event-stream");
    let bare = ask(0, json).answer().body.len();
    let refused = |answer: &Value| {
        let error = &answer["error"];
        assert!(error["code"] == -32051 && answer["id"].is_u64(), "{answer}");
        assert!(error["message"].as_str().unwrap().contains("server.limits.waiting_bytes"), "{error}");
        let data = json!({"error": "too_much_waiting", "fault": "downstream", "retry_after_ms": 1000});
        assert_eq!(error["data"], data);
    };
    for (bytes, taken) in [(999_999, true), (1_000_000, true), (1_000_001, false)] {
        let answer = ask(bytes - bare, json).answer();
        assert_eq!(answer.body.len() == bytes, taken, "{bytes}");
        if !taken {
            refused(&answer.json());
        }
        let of_events = ask(bytes - bare, events).answer().text();
        assert_eq!(of_events.len() > bytes, taken, "{bytes}");
    }
    // Two that nobody reads take the room of all; far more than the system's own buffers hold.
    let text = std::fs::read_to_string(gateway.config()).unwrap().replace("1000000", "25000000");
    gateway.write_config(&text);
    assert_eq!(gateway.post_json("/api/config/reload", &json!({})).json()["restart_required"], json!([]));
    for accept in [json, events] {
        let mut stuck = [ask(12_000_000, accept), ask(12_000_000, accept)];
        let answer = eventually("there is no room", || {
            let answer = ask(1_100_000, json).answer().json();
            answer["error"].is_object().then_some(answer)
        });
        refused(&answer);
        assert!(ask(50_000, json).answer().json()["result"].is_object(), "small ones are not counted");
        assert!(stuck[0].answer().body.len() > 12_000_000);
        assert!(ask(1_100_000, json).answer().json()["result"].is_object());
        drop(stuck);
        eventually("a client that is gone holds nothing", || {
            let one = ask(15_000_000, json);
            let mut other = ask(9_000_000, json);
            let room = other.answer().json()["result"].is_object();
            drop(one);
            room.then_some(())
        });
    }
}
