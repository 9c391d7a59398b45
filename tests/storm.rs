//! Many reloads of every kind while many callers call: unchanged providers notice nothing. DESIGN section 7.
//!
//! `HANGAR_STORM=1000` for the long run (`make storm`); otherwise a short one. `HANGAR_CALLS_PER_S`: so many calls of all callers
//! together; otherwise as many as there is time for.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use gateway::{Client, Gateway, Home, HttpSession, UNWATCHED, Value, config, json};

const CALLERS: usize = 32;
const UNCHANGED: [&str; 4] = ["still0", "still1", "still2", "still3"];
const CHANGING: [&str; 4] = ["move0", "move1", "move2", "move3"];

fn reloads_wanted() -> usize {
    std::env::var("HANGAR_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

/// From one call of a caller to its next, as the clock says.
fn pace() -> Duration {
    let per_second = std::env::var("HANGAR_CALLS_PER_S").ok().and_then(|n| n.parse::<f64>().ok());
    per_second.map_or(Duration::ZERO, |all| Duration::from_secs_f64(CALLERS as f64 / all))
}

/// Small and the same everywhere: what it decides must be seen again when a run fails.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What the file says of the providers that change: a version, or nothing.
#[derive(Clone, Copy, Default)]
struct Wanted([Option<usize>; 4]);

impl Wanted {
    fn providers(&self, home: &Home) -> String {
        let still = UNCHANGED.iter().map(|name| home.provider(name, &[], ""));
        let moving = CHANGING.iter().zip(self.0).filter_map(|(name, version)| {
            Some(home.provider(name, &["--version", &version?.to_string()], "stop: {grace_s: 5}"))
        });
        still.chain(moving).collect()
    }
}

/// One caller's way to the gateway, or the driver's.
trait Way: Send {
    /// The whole answer to a `tools/call`.
    fn call(&mut self, tool: &str, arguments: Value) -> Value;
}

impl Way for &Client {
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.start_tool(tool, arguments).wait()
    }
}

impl Way for HttpSession {
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        HttpSession::call(self, tool, arguments)
    }
}

#[test]
fn storm_reload() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &Wanted::default().providers(&home));
    storm(&home, || &gateway.client);
    finish(&home, gateway);
}

#[test]
fn storm_reload_over_http_sessions() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &Wanted::default().providers(&home));
    storm(&home, || HttpSession::open(address));
    finish(&home, gateway);
}

fn finish(home: &Home, gateway: Gateway) {
    gateway.stop();
    for name in UNCHANGED.iter().chain(&CHANGING) {
        home.assert_never_two(name);
        home.assert_starts_equal_stops(name);
    }
    for name in UNCHANGED {
        assert_eq!(home.start_count(name), 1, "an unchanged provider is the same process all the time");
    }
}

fn storm<W: Way>(home: &Home, connect: impl Fn() -> W) {
    // On a connection of its own each time: one that is silent for the whole storm is closed.
    let pids = || UNCHANGED.map(|name| connect().call(&format!("{name}__pid"), json!({}))["result"].to_string());
    let before = pids();
    let (stop, calls, began) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        let (stop, calls) = (&stop, &calls);
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let mut way = connect();
                scope.spawn(move || call_until(&mut way, n, stop, calls))
            })
            .collect();
        // A driver that fails must not leave the callers calling.
        let _stopped = Stop(stop);
        drive(home, &mut connect());
        stop.store(true, Ordering::Relaxed);
        let failed: Vec<String> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        assert_eq!(failed, Vec::<String>::new(), "failed calls of {}", calls.load(Ordering::Relaxed));
    });
    let (calls, took, reloads) = (calls.into_inner(), began.elapsed().as_secs_f64(), reloads_wanted());
    eprintln!(
        "{reloads} reloads in {took:.0} s under {:.0} calls/s: {calls} calls, none failed or misrouted",
        calls as f64 / took
    );
    assert!(calls > reloads, "the callers hardly called");
    assert_eq!(pids(), before);
}

struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls unchanged providers, one call after the other; gives what went wrong.
fn call_until(way: &mut impl Way, n: usize, stop: &AtomicBool, calls: &AtomicUsize) -> Vec<String> {
    let mut failed = Vec::new();
    let (pace, mut due) = (pace(), Instant::now() + pace() * u32::try_from(n).unwrap() / CALLERS as u32);
    for round in 0.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += pace;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = UNCHANGED[(n + round) % UNCHANGED.len()];
        let answer = way.call(&format!("{name}__echo"), json!({"n": n, "round": round}));
        if answer["result"]["content"][0]["text"] != format!("{{\"n\":{n},\"round\":{round}}}") {
            failed.push(answer.to_string());
        }
        calls.fetch_add(1, Ordering::Relaxed);
    }
    failed
}

/// Reload after reload; checks every report against what was asked for.
fn drive(home: &Home, way: &mut impl Way) {
    let mut dice = Dice(0x5eed);
    let mut wanted = Wanted::default();
    let mut generation = 1;
    for round in 1..=reloads_wanted() {
        let which = dice.roll(CHANGING.len());
        let mut next = wanted;
        let kind = dice.roll(5);
        match kind {
            0 | 1 => next.0[which] = Some(round),
            2 => next.0[which] = None,
            _ => {}
        }
        let good = config(&next.providers(home), UNWATCHED);
        home.put(&if kind == 4 { good + "  broken: {comand: [x]}\n" } else { good });
        let report = way.call("hangar_reload_config", json!({}))["result"]["structuredContent"].take();
        if kind == 4 {
            assert_eq!((&report["status"], &report["generation"]), (&json!("failed"), &json!(generation)), "{report}");
            continue;
        }
        check(&report, &wanted, &next, &mut generation);
        wanted = next;
        // Most of them live when the next change comes.
        if let Some(version) = wanted.0[which]
            && dice.roll(3) > 0
        {
            let call = way.call(&format!("{}__args", CHANGING[which]), json!({}));
            let text = call["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{call}"));
            assert!(text.contains(&format!("\"--version\",\"{version}\"")), "the new one answers: {text}");
        }
    }
}

fn check(report: &Value, before: &Wanted, after: &Wanted, generation: &mut u64) {
    let changed = |fits: &dyn Fn(Option<usize>, Option<usize>) -> bool| -> BTreeSet<&str> {
        let both = before.0.into_iter().zip(after.0);
        CHANGING.into_iter().zip(both).filter(|(_, (old, new))| fits(*old, *new)).map(|(name, _)| name).collect()
    };
    let added = changed(&|old, new| old.is_none() && new.is_some());
    let removed = changed(&|old, new| old.is_some() && new.is_none());
    let updated = changed(&|old, new| old.is_some() && new.is_some() && old != new);
    *generation += u64::from(before.0 != after.0);
    assert_eq!(report["status"], "success", "{report}");
    assert_eq!(report["providers_added"], json!(added), "{report}");
    assert_eq!(report["providers_removed"], json!(removed), "{report}");
    assert_eq!(report["providers_updated"], json!(updated), "{report}");
    assert_eq!(report["generation"], *generation, "{report}");
}
