//! A gateway that may take 1 GiB of memory and no more, and clients and providers that would have it take more.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    gateway::{Gateway, Home, HttpSession, SOON, Signal, Value, json, ms},
    load::memory,
    row::{self, CHAOS},
};

const LIMIT: u64 = 1 << 30;
/// How large an answer the slow clients ask for.
const ANSWER: usize = 15_000_000;

/// Clients that ask for one at the same time and read it late: more than held_bytes (256 MiB) has room for, and with
/// `make faults` more than the memory has.
fn slow_clients() -> usize {
    if std::env::var_os("HANGAR_FAULTS_S").is_some() { 80 } else { 24 }
}

/// A group of processes with a limit; `None`: this user may make none.
struct Confined(PathBuf);

impl Confined {
    fn new(pid: u32) -> Option<Self> {
        let name = format!("hangar-test-{pid}");
        let v1 = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes");
        [v1, ("/sys/fs/cgroup", "memory.max")].into_iter().find_map(|(root, limit)| {
            let dir = PathBuf::from(root).join(&name);
            fs::create_dir(&dir).ok()?;
            let group = Self(dir);
            fs::OpenOptions::new()
                .write(true)
                .open(group.0.join(limit))
                .ok()?
                .write_all(LIMIT.to_string().as_bytes())
                .ok()?;
            fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // What was in it has ended, or goes within a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(ms(20));
        }
    }
}

/// A call whose answer is not read before all have theirs; its body then.
fn reads_late(address: SocketAddr, session: &str, may_read: &AtomicBool) -> String {
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "faulty__t", "arguments": {"do": format!("large {ANSWER}")}}});
    let body = call.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         Mcp-Session-Id: {session}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    while !may_read.load(Ordering::Relaxed) {
        thread::sleep(ms(20));
    }
    let mut answer = BufReader::new(stream);
    let mut status = String::new();
    answer.read_line(&mut status).unwrap();
    assert!(status.contains(" 200 "), "{status}");
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    rest.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn one_gibibyte_of_memory() {
    let home = Home::new();
    let keys = "stop: {grace_s: 0.2, term_s: 0.2}, call_timeout_s: 60, max_concurrency: 0";
    let faulty = format!("  faulty: {{command: {}, {keys}}}\n", json!([CHAOS]));
    let (mut gateway, address) = Gateway::over_http(&home, &(faulty + &home.provider("near", &[], "")));
    let pid = gateway.pid();
    let confined = Confined::new(pid);
    let mut session = HttpSession::open(address);
    assert!(session.call("faulty__t", json!({}))["result"].is_object());
    assert!(session.call("near__echo", json!({}))["result"].is_object());
    let before = memory(pid, "VmRSS");
    // A flood beside it all.
    let flood = thread::spawn(move || HttpSession::open(address).call("faulty__t", json!({"do": "flood-stderr 1000"})));
    let may_read = Arc::new(AtomicBool::new(false));
    let slow: Vec<_> = (0..slow_clients())
        .map(|_| {
            let key = HttpSession::open(address).key();
            let may_read = may_read.clone();
            thread::spawn(move || reads_late(address, &key, &may_read))
        })
        .collect();
    let (mut calls, mut worst, began) = (0, Duration::ZERO, Instant::now());
    let in_flight = |session: &mut HttpSession| {
        let list = session.call("hangar_list", json!({}));
        let providers = list["result"]["structuredContent"]["providers"].as_array().cloned().unwrap_or_default();
        providers
            .iter()
            .filter(|p| p["provider"] == "faulty")
            .map(|p| p["calls_in_flight"].as_u64().unwrap())
            .sum::<u64>()
    };
    while began.elapsed() < ms(500) || (in_flight(&mut session) > 0 && began.elapsed() < 3 * SOON) {
        let asked = Instant::now();
        let answer = session.call("near__echo", json!({"n": calls}));
        assert!(answer["result"].is_object(), "{answer}");
        (calls, worst) = (calls + 1, worst.max(asked.elapsed()));
        thread::sleep(ms(4));
    }
    may_read.store(true, Ordering::Relaxed);
    let (mut given, mut refused) = (0, None);
    for client in slow {
        let answer = client.join().unwrap();
        if answer.len() > ANSWER {
            given += 1;
            continue;
        }
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["code"], -32051, "{answer}");
        refused = Some(answer["error"].clone());
    }
    // As many as held_bytes has room for at the least.
    assert!(given >= 15, "only {given} answers came");
    let told = refused.expect("some are refused");
    // It is all read: there is room again.
    let again = session.call("faulty__t", json!({"do": format!("large {ANSWER}")}));
    assert!(again["result"].is_object(), "{again}");
    assert!(flood.join().unwrap()["result"].is_object());
    assert!(gateway.exited().is_none(), "it was killed");
    let most = memory(pid, "VmHWM");
    assert!(most < LIMIT / 1024, "{most} KiB");
    let place = if confined.is_some() { "in a cgroup" } else { "no cgroup here: its peak is looked at" };
    let fault =
        format!("1 GiB for the gateway ({place}), {} clients that ask for 15 MB each and do not read", slow_clients());
    row::write(&json!({
        "name": "one_gibibyte_of_memory", "fault": fault, "told": {"message": told["message"], "error": told["data"]["error"], "fault": told["data"]["fault"]},
        "notes": [format!("{given} answers had room and came whole")],
        "calls": calls, "failed": 0, "worst_ms": row::millis(worst), "before_kib": before, "most_kib": most,
    }));
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log());
    home.assert_nothing_left(Duration::ZERO);
}
