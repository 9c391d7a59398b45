//! Sessions end by DELETE or by silence, and cost next to nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::rig::{Running, start_gateway};

fn ping(gateway: &Running, session: &str) -> u16 {
    gateway.mcp(Some(session), &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).status
}

#[test]
fn delete_ends_a_session_and_its_stream() {
    let gateway = start_gateway("providers: {}\n");
    let session = gateway.session("2025-11-25");
    let header = format!("Mcp-Session-Id: {session}");
    let mut stream = gateway.connect();
    stream.request(&gateway.address, "GET", "/mcp", &[&header, "Accept: text/event-stream"], b"");
    assert_eq!(stream.head().status, 200);
    assert_eq!(gateway.ask("DELETE", "/mcp", &[], b"").status, 400);
    let ended = gateway.ask("DELETE", "/mcp", &[&header], b"");
    assert_eq!((ended.status, ended.body.len()), (204, 0));
    assert!(stream.events().is_none());
    assert_eq!(gateway.ask("DELETE", "/mcp", &[&header], b"").status, 404);
    assert_eq!(ping(&gateway, &session), 404);
}

#[test]
fn a_silent_session_expires_and_one_with_a_stream_does_not() {
    let gateway = start_gateway("providers: {}\nserver: {session_idle_s: 4}\n");
    let (silent, busy) = (gateway.session("2025-11-25"), gateway.session("2025-11-25"));
    let header = format!("Mcp-Session-Id: {busy}");
    let mut stream = gateway.connect();
    stream.request(&gateway.address, "GET", "/mcp", &[&header, "Accept: text/event-stream"], b"");
    assert_eq!(stream.head().status, 200);
    let opened = Instant::now();
    // Asking the silent one would make it young again.
    crate::rig::eventually("one of two is left", || (gateway.get("/api/status").json()["sessions"] == 1).then_some(()));
    assert!(opened.elapsed() >= Duration::from_secs(2), "{:?}", opened.elapsed());
    assert_eq!(ping(&gateway, &silent), 404);
    thread::sleep(Duration::from_secs(5));
    drop(stream);
    // Its silence is counted from the end of the stream.
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(ping(&gateway, &busy), 200);
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// `HANGAR_SESSIONS=100000` for the long run (`make storm`).
#[test]
#[cfg(target_os = "linux")]
fn storm_abandoned_sessions_leave_less_than_a_kibibyte_each_and_expire() {
    let sessions = std::env::var("HANGAR_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000_u64);
    // Before the first opened one is forgotten, the last one is there; and the sweep comes soon.
    let idle = |seconds: u64| {
        format!("providers: {{}}\nserver: {{session_idle_s: {seconds}}}\nconfig_reload: {{enabled: false}}\n")
    };
    let gateway = start_gateway(&idle(40 + sessions / 400));
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {"form": {}}, "sampling": {}, "roots": {"listChanged": true}},
        "clientInfo": {"name": "a-client-of-some-kind", "version": "12.34.56"}
    }});
    let mut conn = gateway.connect();
    let mut open = |count: u64| {
        let mut last = String::new();
        for _ in 0..count {
            conn.mcp(&gateway.address, None, &hello);
            let answer = conn.answer();
            assert_eq!(answer.status, 200);
            last = answer.header("mcp-session-id").expect("a session").to_owned();
        }
        last
    };
    // What the process needs once is there.
    const FIRST: u64 = 2_000;
    open(FIRST);
    let before = resident_kib(gateway.pid());
    let last = open(sessions);
    let grown = resident_kib(gateway.pid()).saturating_sub(before);
    eprintln!("{sessions} sessions: {grown} KiB, {} bytes each", grown * 1024 / sessions);
    assert_eq!(gateway.get("/api/status").json()["sessions"], sessions + FIRST);
    assert!(gateway.get("/metrics").text().contains(&format!("hangar_sessions {}", sessions + FIRST)));
    assert!(grown < sessions, "{grown} KiB for {sessions} sessions");
    assert_eq!(ping(&gateway, &last), 200);

    gateway.write_config(&idle(1));
    assert_eq!(gateway.post_json("/api/config/reload", &json!({})).status, 200);
    let began = Instant::now();
    while gateway.get("/api/status").json()["sessions"] != 0 {
        assert!(began.elapsed() < Duration::from_secs(70), "{}", gateway.get("/api/status").text());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ping(&gateway, &last), 404);
    let left = resident_kib(gateway.pid()).saturating_sub(before);
    eprintln!("{left} KiB are left when all have expired");
}

#[test]
fn one_client_that_wants_less_of_the_log_takes_nothing_from_another() {
    let gateway = crate::rig::with_one_provider();
    let (curious, busy) = (gateway.session("2025-11-25"), gateway.session("2025-11-25"));
    let set = |session: &str, level: &str| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": level}});
        assert_eq!(gateway.mcp(Some(session), &message).json()["result"], json!({}));
    };
    let level = |expected: &str| {
        crate::rig::eventually(expected, || {
            let answer = gateway.mcp(Some(&curious), &crate::rig::call(2, "t__log_level", &json!({}))).json();
            (answer["result"]["content"][0]["text"] == expected).then_some(())
        });
    };
    set(&busy, "error");
    level("error");
    set(&curious, "debug");
    level("debug");
    set(&busy, "emergency");
    let answer = gateway.mcp(Some(&curious), &crate::rig::call(3, "t__log_level", &json!({}))).json();
    assert_eq!(answer["result"]["content"][0]["text"], "debug");
    set(&curious, "warning");
    level("warning");
}
