//! Connections: slow ones, idle ones, and the last ones.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::rig::{BOTH, call, eventually, with_one_provider};

/// All the limits of 30 s in one test, side by side.
#[test]
fn a_slow_head_or_body_does_not_hold_a_connection_for_ever() {
    let gateway = with_one_provider();
    let began = Instant::now();
    let limit = Duration::from_secs(40);
    thread::scope(|scope| {
        let gateway = &gateway;
        scope.spawn(move || {
            let mut half = gateway.connect();
            half.limit(limit);
            half.send(b"POST /mcp HTTP/1.1\r\nHost: ");
            assert!(half.is_closed(), "half a head");
        });
        scope.spawn(move || {
            let mut dripping = gateway.connect();
            dripping.send(b"GET / HTTP/1.1\r\n");
            // A byte now and then does not buy time.
            let ended = (0..40).find(|_| {
                thread::sleep(Duration::from_secs(1));
                !dripping.try_send(b"x")
            });
            assert!(ended.is_some(), "a head in drops");
        });
        scope.spawn(move || {
            let mut body = gateway.connect();
            body.limit(limit);
            let headers = ["Content-Type: application/json", BOTH, "Content-Length: 100"];
            body.request(&gateway.address, "POST", "/mcp", &headers, b"");
            body.send(b"{\"jsonrpc\"");
            let answer = body.answer();
            assert_eq!(answer.status, 408, "{}", answer.text());
            assert!(body.is_closed());
        });
        scope.spawn(move || {
            let mut silent = gateway.connect();
            silent.limit(limit);
            assert!(silent.is_closed(), "nothing at all");
        });
    });
    assert!(began.elapsed() > Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn a_head_that_never_ends_is_refused() {
    let gateway = with_one_provider();
    let mut conn = gateway.connect();
    conn.send(b"GET /health/live HTTP/1.1\r\n");
    let line = format!("X-Filler: {}\r\n", "x".repeat(8000));
    while conn.try_send(line.as_bytes()) {}
    assert_eq!(gateway.get("/health/live").status, 200);
}

#[test]
fn the_stop_lets_calls_finish_and_idle_connections_go() {
    let mut gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    let mut idle = gateway.connect();
    idle.request(&gateway.address, "GET", "/health/ready", &[], b"");
    assert_eq!(idle.answer().status, 200);
    let mut unused = gateway.connect();
    let mut busy = gateway.connect();
    busy.mcp(&gateway.address, Some(&session), &call(1, "t__sleep", &json!({"ms": 2000})));
    eventually("the call runs", || (gateway.get("/api/providers/t").json()["calls_in_flight"] == 1).then_some(()));
    gateway.signal(rustix::process::Signal::TERM);
    assert!(idle.is_closed() && unused.is_closed());
    let refused = eventually("no new connections", || std::net::TcpStream::connect(&gateway.address).err());
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let answer = busy.answer();
    assert_eq!(answer.json()["result"]["content"][0]["text"], "slept", "{}", answer.text());
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn requests_in_a_row_are_answered_in_a_row() {
    let gateway = with_one_provider();
    let mut conn = gateway.connect();
    let one = format!("GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    conn.send(one.repeat(50).as_bytes());
    for _ in 0..50 {
        assert_eq!(conn.answer().status, 200);
    }
}

/// Ticks of processor time that the process has used.
#[cfg(target_os = "linux")]
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
}

#[test]
#[cfg(target_os = "linux")]
fn without_file_descriptors_it_waits_and_then_serves_on() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let gateway = with_one_provider();
    assert_eq!(gateway.get("/health/live").status, 200);
    let files = || std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("its files").count() as u64;
    let open = files();
    let limit = Rlimit { current: Some(open + 4), maximum: Some(open + 4) };
    let pid = Pid::from_raw(gateway.pid() as i32).expect("a pid");
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit");
    // The system accepts for it.
    let held: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    // One more may be gone already: the first connection's own.
    eventually("none is left", || (files() >= open + 3).then_some(()));
    let before = ticks(gateway.pid());
    thread::sleep(Duration::from_secs(2));
    let used = ticks(gateway.pid()) - before;
    assert!(used < 40, "{used} of 200 ticks: it spins");
    drop(held);
    assert_eq!(gateway.get("/health/live").status, 200);
}
