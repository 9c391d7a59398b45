//! The end of a gateway under load: nothing within the grace is cut, late calls get an answer, and the log tells the phases.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gateway::{Gateway, Home, SOON, Signal, Value, eventually, json, ms};

/// Calls in flight at the signal, each as long as this.
const SLOW: usize = 8;
const SLOW_MS: u64 = 2000;
/// Of the fast calls: 4 callers, one every 8 ms.
const CALLERS: usize = 4;
const PACE: Duration = Duration::from_millis(8);

fn rounds() -> usize {
    std::env::var("HANGAR_STOPS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// What became of the fast calls of a round.
#[derive(Default)]
struct Fast {
    answered: AtomicU64,
    refused: AtomicU64,
    /// Anything that is neither an answer nor a refusal.
    wrong: std::sync::Mutex<Vec<String>>,
}

impl Fast {
    fn count(&self, answer: &Value) {
        match answer["error"]["message"].as_str() {
            None if answer["result"].is_object() => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Some(text) if text.contains("\"fast\"") && text.contains("shutting down") => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.wrong.lock().unwrap().push(answer.to_string()),
        }
    }
}

#[test]
fn storm_sigterm_at_500_calls_a_second_cuts_no_call_within_the_grace() {
    let (mut answered, mut refused) = (0, 0);
    for round in 0..rounds() {
        let fast = if round % 2 == 0 { over_stdio(round) } else { over_http(round) };
        assert_eq!(*fast.wrong.lock().unwrap(), Vec::<String>::new(), "round {round}");
        answered += fast.answered.load(Ordering::Relaxed);
        refused += fast.refused.load(Ordering::Relaxed);
    }
    eprintln!(
        "{} stops: {answered} fast calls answered, {refused} refused, {} slow calls, none cut",
        rounds(),
        rounds() * SLOW
    );
    assert!(answered > 0 && refused > 0);
}

fn providers(home: &Home) -> String {
    home.provider("fast", &[], "") + &home.provider("slow", &[], "")
}

/// At another moment in each round.
fn moment(round: usize) -> Duration {
    ms(100 + (round as u64 * 37) % 400)
}

fn over_stdio(round: usize) -> Arc<Fast> {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &providers(&home));
    gateway.client.pid_of("fast");
    let slow: Vec<_> = (0..SLOW).map(|_| gateway.client.start_tool("slow__sleep", json!({"ms": SLOW_MS}))).collect();
    eventually("all are in flight", SOON, || (gateway.provider("slow")["calls_in_flight"] == SLOW).then_some(()));
    let fast = Arc::new(Fast::default());
    let (began, mut signalled, mut pending) = (Instant::now(), None, Vec::new());
    // Until a second after the signal.
    while signalled.is_none_or(|at: Instant| at.elapsed() < ms(1000)) {
        if signalled.is_none() && began.elapsed() > moment(round) {
            gateway.signal(Signal::TERM);
            signalled = Some(Instant::now());
        }
        pending.push(gateway.client.start_tool("fast__echo", json!({})));
        thread::sleep(PACE / 4);
    }
    pending.into_iter().for_each(|call| fast.count(&call.wait()));
    for call in slow {
        let answer = call.wait();
        assert!(answer["result"].is_object(), "a slow call was cut: {answer}");
    }
    end(&mut gateway, &home);
    fast
}

fn over_http(round: usize) -> Arc<Fast> {
    let home = Home::new();
    let (mut gateway, address) = Gateway::over_http(&home, &providers(&home));
    let ready = Arc::new(Barrier::new(SLOW + CALLERS + 1));
    let slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let ready = ready.clone();
            thread::spawn(move || {
                let mut caller = Caller::open(address).unwrap();
                caller.call("slow__echo", json!({})).unwrap();
                ready.wait();
                caller.call("slow__sleep", json!({"ms": SLOW_MS}))
            })
        })
        .collect();
    let (fast, stop) = (Arc::new(Fast::default()), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (fast, ready, stop) = (fast.clone(), ready.clone(), stop.clone());
            thread::spawn(move || {
                let mut caller = Caller::open(address).unwrap();
                ready.wait();
                while !stop.load(Ordering::Relaxed) {
                    match caller.call("fast__echo", json!({})) {
                        Ok(answer) => fast.count(&answer),
                        // Nobody listens any more, and nothing was sent.
                        Err(End::NotSent) => break,
                        Err(End::Cut(why)) => fast.wrong.lock().unwrap().push(why),
                    }
                    thread::sleep(PACE);
                }
            })
        })
        .collect();
    ready.wait();
    // The slow calls have to be in flight.
    thread::sleep(ms(50) + moment(round));
    gateway.signal(Signal::TERM);
    for call in slow {
        let answer = call.join().unwrap().unwrap_or_else(|_| panic!("a slow call was cut"));
        assert!(answer["result"].is_object(), "a slow call was cut: {answer}");
    }
    stop.store(true, Ordering::Relaxed);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    end(&mut gateway, &home);
    fast
}

fn end(gateway: &mut Gateway, home: &Home) {
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log());
    home.assert_nothing_left(Duration::ZERO);
    home.assert_starts_equal_stops("fast");
    home.assert_starts_equal_stops("slow");
}

#[derive(Debug)]
enum End {
    NotSent,
    Cut(String),
}

/// An HTTP client that goes by the book: a connection that the server closes after an answer is not used again.
struct Caller {
    stream: Option<BufReader<TcpStream>>,
    address: SocketAddr,
    session: String,
    next_id: u64,
}

impl Caller {
    fn open(address: SocketAddr) -> Option<Self> {
        let mut caller = Self { stream: None, address, session: String::new(), next_id: 0 };
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        caller.request("initialize", &params).ok().map(|_| caller)
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, End> {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value, End> {
        self.next_id += 1;
        let body = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}).to_string();
        let session =
            if self.session.is_empty() { String::new() } else { format!("Mcp-Session-Id: {}\r\n", self.session) };
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json\r\n{session}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).map_err(|_| End::NotSent)?;
                stream.set_read_timeout(Some(SOON)).unwrap();
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all((head + &body).as_bytes()).map_err(|e| End::Cut(format!("write: {e}")))?;
        let (mut length, mut close, mut line) = (0, false, String::new());
        loop {
            line.clear();
            let read = stream.read_line(&mut line).map_err(|e| End::Cut(format!("read: {e}")))?;
            if read == 0 {
                return Err(End::Cut("closed without an answer".into()));
            }
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "mcp-session-id" => self.session = value.to_owned(),
                "connection" => close = value == "close",
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).map_err(|e| End::Cut(format!("body: {e}")))?;
        self.stream = (!close).then_some(stream);
        Ok(serde_json::from_slice(&body).unwrap())
    }
}

#[test]
fn the_log_tells_each_phase_and_clients_get_a_last_notification() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.client.pid_of("a");
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 700}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.signal(Signal::TERM);
    gateway.client.wait_line("the last notification", |line| {
        line.contains("notifications/message") && line.contains("the gateway is stopping")
    });
    assert!(call.wait()["result"].is_object());
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    let log = gateway.log();
    let phases = [
        "gateway_stopping",
        "accepting_ended",
        "providers_stopped",
        "sessions_closed",
        "files_removed",
        "gateway_stopped",
    ];
    let places: Vec<_> =
        phases.iter().map(|phase| log.find(phase).unwrap_or_else(|| panic!("{phase}: {log}"))).collect();
    assert!(places.is_sorted(), "{log}");
}

#[test]
fn a_second_signal_takes_the_providers_to_the_last_rungs_of_their_ladder() {
    let home = Home::new();
    let stubborn = ["--ignore-eof"];
    let mut gateway = Gateway::start(&home, &home.provider("a", &stubborn, "stop: {grace_s: 20, term_s: 5}"));
    gateway.client.pid_of("a");
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("gateway_stopping");
    thread::sleep(ms(300));
    assert!(gateway.exited().is_none(), "it waits for the provider");
    gateway.signal(Signal::TERM);
    gateway.wait_exit(ms(2000));
    home.assert_nothing_left(ms(2000));
}

#[test]
fn a_client_that_leaves_and_then_sends_sigterm_has_asked_once() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &home.provider("a", &["--ignore-eof"], "stop: {grace_s: 1, term_s: 1}"));
    gateway.client.pid_of("a");
    gateway.client.close();
    gateway.wait_for_log("gateway_stopping");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    let log = gateway.log();
    assert!(log.contains("gateway_stopped") && !log.contains("leaving at once"), "{log}");
    home.assert_nothing_left(Duration::ZERO);
}
