//! Sessions end by DELETE or by silence, and cost next to nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::rig::{Running, initialize, start_gateway};

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

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_abandoned_sessions_cost_little() {
    const SESSIONS: u64 = 10_000;
    let gateway = start_gateway("providers: {}\n");
    let hello = initialize("2025-11-25");
    let mut conn = gateway.connect();
    let mut open = |count: u64| {
        for _ in 0..count {
            conn.mcp(&gateway.address, None, &hello);
            assert_eq!(conn.answer().status, 200);
        }
    };
    open(200);
    let before = resident_kib(gateway.pid());
    open(SESSIONS);
    let grown = resident_kib(gateway.pid()).saturating_sub(before);
    eprintln!("{SESSIONS} sessions: {grown} KiB");
    assert_eq!(gateway.get("/api/status").json()["sessions"], SESSIONS + 200);
    assert!(gateway.get("/metrics").text().contains(&format!("hangar_sessions {}", SESSIONS + 200)));
    assert!(grown < 20 * 1024, "{grown} KiB");
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
