//! An upstream that is killed again and again under load.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gateway::*;

/// Each has a call in flight on the provider that is killed.
const VICTIMS: usize = 4;
/// Each calls one of two other providers, one call after the other.
const OTHERS: usize = 4;
/// Between a kill and the error of each call that was in flight.
const AT_ONCE: Duration = Duration::from_millis(100);

fn kills() -> usize {
    std::env::var("HANGAR_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

/// How often the provider has been killed, and when last.
struct Kills {
    state: Mutex<(u64, Instant)>,
    /// Callers whose call is one that only a kill ends.
    waiting: AtomicUsize,
    stop: AtomicBool,
}

/// What one caller of the killed provider saw.
#[derive(Default)]
struct Seen {
    /// Kill after kill: how long its call in flight took to fail.
    errors: Vec<Duration>,
    /// And how long until one was answered again.
    recoveries: Vec<Duration>,
    wrong: Vec<String>,
}

/// One error for each call in flight, within 100 ms of the kill; the next call is answered by a new instance; nobody else
/// notices.
#[test]
fn storm_kill_upstream_under_load() {
    let home = Home::new();
    // That it dies so often is what is tested here; `crashes` tests what becomes of one that does.
    let a =
        home.provider("a", &[], "crash_budget: 0, circuit_breaker: {failure_threshold: 0}, health_check_interval_s: 0");
    let others = home.provider("b", &[], "") + &home.provider("c", &[], "");
    let (gateway, address) = Gateway::over_http(&home, &(a + &others));
    let mut driver = HttpSession::open(address);
    let pids = |driver: &mut HttpSession| ["b", "c"].map(|name| text(&driver.call(&format!("{name}__pid"), json!({}))));
    let before = pids(&mut driver);
    let kills =
        Kills { state: Mutex::new((0, Instant::now())), waiting: AtomicUsize::new(0), stop: AtomicBool::new(false) };
    let calls = AtomicU64::new(0);
    let (seen, failed): (Vec<Seen>, Vec<String>) = thread::scope(|scope| {
        let (kills, calls) = (&kills, &calls);
        // A driver that fails must not leave the callers calling.
        let _stopped = Stop(&kills.stop);
        let victims: Vec<_> = (0..VICTIMS).map(|_| scope.spawn(move || victim(address, kills))).collect();
        let others: Vec<_> = (0..OTHERS).map(|n| scope.spawn(move || other(address, n, kills, calls))).collect();
        let mut last = 0;
        for round in 0..self::kills() {
            last = all_in_flight(&mut driver, kills, &format!("kill {round}"), last);
            // Leased is not yet sent.
            thread::sleep(ms(5));
            let mut state = kills.state.lock().unwrap();
            *state = (state.0 + 1, Instant::now());
            signal(last.try_into().unwrap(), Signal::KILL);
        }
        last = all_in_flight(&mut driver, kills, "the end", last);
        kills.stop.store(true, Ordering::SeqCst);
        signal(last.try_into().unwrap(), Signal::KILL);
        let seen = victims.into_iter().map(|caller| caller.join().unwrap()).collect();
        (seen, others.into_iter().flat_map(|caller| caller.join().unwrap()).collect())
    });
    assert_eq!(failed, Vec::<String>::new(), "of {} calls of other providers", calls.load(Ordering::Relaxed));
    let wrong: Vec<_> = seen.iter().flat_map(|seen| &seen.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for seen in &seen {
        assert_eq!(seen.errors.len(), self::kills(), "one error for each kill");
    }
    let errors = seen.iter().flat_map(|seen| &seen.errors).copied().collect();
    let recoveries = seen.iter().flat_map(|seen| &seen.recoveries).copied().collect();
    let slowest = report("from the kill to the error of a call in flight", errors);
    report("from the kill to the next answer", recoveries);
    eprintln!("{} calls of other providers meanwhile, none failed", calls.load(Ordering::Relaxed));
    assert!(slowest < AT_ONCE, "{slowest:?}");
    assert_eq!(home.start_count("a"), self::kills() + 1, "one start for each kill");
    assert!(calls.load(Ordering::Relaxed) > self::kills() as u64, "the others hardly called");
    assert_eq!(pids(&mut driver), before, "the others are the same processes");
    gateway.stop();
}

struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn text(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The pid of the instance, another one than `last`, once it has a call of each caller.
fn all_in_flight(driver: &mut HttpSession, kills: &Kills, what: &str, last: u64) -> u64 {
    eventually(&format!("{what}: every call is in flight"), SOON, || {
        let list = driver.call("hangar_list", json!({}))["result"]["structuredContent"].take();
        let a = list["providers"].as_array()?.iter().find(|p| p["provider"] == "a")?;
        let all = kills.waiting.load(Ordering::SeqCst) == VICTIMS && a["calls_in_flight"] == VICTIMS;
        a["pid"].as_u64().filter(|pid| all && *pid != last)
    })
}

/// A call that only a kill ends, then one that is to be answered, and so on.
fn victim(address: SocketAddr, kills: &Kills) -> Seen {
    let (mut session, mut seen) = (HttpSession::open(address), Seen::default());
    loop {
        let before = kills.state.lock().unwrap().0;
        kills.waiting.fetch_add(1, Ordering::SeqCst);
        let answer = session.call("a__sleep", json!({"ms": 60000}));
        let now = Instant::now();
        kills.waiting.fetch_sub(1, Ordering::SeqCst);
        if kills.stop.load(Ordering::SeqCst) {
            return seen;
        }
        let (count, killed) = *kills.state.lock().unwrap();
        let data = &answer["error"]["data"];
        if count != before + 1 || data["error"] != "provider_exited" || data["provider"] != "a" {
            seen.wrong.push(format!("kill {count} after {before}: {answer}"));
        }
        seen.errors.push(now.duration_since(killed));
        let next = session.call("a__echo", json!({}));
        seen.recoveries.push(killed.elapsed());
        if next["result"]["content"][0]["text"] != "{}" {
            seen.wrong.push(format!("the next call after kill {count}: {next}"));
        }
    }
}

fn other(address: SocketAddr, n: usize, kills: &Kills, calls: &AtomicU64) -> Vec<String> {
    let (mut session, mut failed) = (HttpSession::open(address), Vec::new());
    let name = ["b", "c"][n % 2];
    for round in 0.. {
        if kills.stop.load(Ordering::SeqCst) {
            break;
        }
        let answer = session.call(&format!("{name}__echo"), json!({"n": n, "round": round}));
        if answer["result"]["content"][0]["text"] != format!("{{\"n\":{n},\"round\":{round}}}") {
            failed.push(answer.to_string());
        }
        calls.fetch_add(1, Ordering::Relaxed);
        thread::sleep(ms(1));
    }
    failed
}

/// The longest of them.
fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |share: f64| times.get(((times.len() - 1) as f64 * share) as usize).copied().unwrap_or_default();
    let figures = BTreeMap::from([("1 median", at(0.5)), ("2 p99", at(0.99)), ("3 max", at(1.0))]);
    eprintln!("{what}: {figures:?} of {}", times.len());
    at(1.0)
}
