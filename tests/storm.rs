//! Many reloads of every kind while many callers call: unchanged providers notice nothing. DESIGN section 7.
//!
//! `HANGAR_STORM=1000` for the long run (`make storm`); otherwise a short one.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use gateway::{Gateway, Home, UNWATCHED, config, json};

const CALLERS: usize = 32;
const UNCHANGED: [&str; 4] = ["still0", "still1", "still2", "still3"];
const CHANGING: [&str; 4] = ["move0", "move1", "move2", "move3"];

fn reloads_wanted() -> usize {
    std::env::var("HANGAR_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
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

#[test]
fn storm_reload() {
    let home = Home::new();
    let mut wanted = Wanted::default();
    let gateway = Gateway::start(&home, &wanted.providers(&home));
    let before = UNCHANGED.map(|name| gateway.client.pid_of(name));
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                scope.spawn({
                    let (client, stop, calls) = (&gateway.client, &stop, &calls);
                    move || call_until(client, n, stop, calls)
                })
            })
            .collect();
        let driver = scope.spawn(|| drive(&gateway, &mut wanted, &stop));
        driver.join().unwrap_or_else(|panic| {
            stop.store(true, Ordering::Relaxed);
            std::panic::resume_unwind(panic)
        });
        let failed: Vec<String> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        assert_eq!(failed, Vec::<String>::new(), "failed calls of {}", calls.load(Ordering::Relaxed));
    });
    assert!(calls.load(Ordering::Relaxed) > reloads_wanted(), "the callers hardly called");
    assert_eq!(UNCHANGED.map(|name| gateway.client.pid_of(name)), before);
    for name in UNCHANGED {
        assert_eq!(home.start_count(name), 1);
    }
    gateway.stop();
    for name in UNCHANGED.iter().chain(&CHANGING) {
        home.assert_never_two(name);
        home.assert_starts_equal_stops(name);
    }
}

/// Calls unchanged providers, one call after the other; gives what went wrong.
fn call_until(client: &gateway::Client, n: usize, stop: &AtomicBool, calls: &AtomicUsize) -> Vec<String> {
    let mut failed = Vec::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = UNCHANGED[(n + round) % UNCHANGED.len()];
        let answer = client.start_tool(&format!("{name}__echo"), json!({"n": n, "round": round})).wait();
        if answer["result"]["content"][0]["text"] != format!("{{\"n\":{n},\"round\":{round}}}") {
            failed.push(answer.to_string());
        }
        calls.fetch_add(1, Ordering::Relaxed);
    }
    failed
}

/// Reload after reload; checks every report against what was asked for.
fn drive(gateway: &Gateway, wanted: &mut Wanted, stop: &AtomicBool) {
    let mut dice = Dice(0x5eed);
    let mut generation = gateway.generation();
    for round in 1..=reloads_wanted() {
        let which = dice.roll(CHANGING.len());
        let mut next = *wanted;
        let kind = dice.roll(5);
        match kind {
            0 | 1 => next.0[which] = Some(round),
            2 => next.0[which] = None,
            _ => {}
        }
        let good = config(&next.providers(&gateway.home), UNWATCHED);
        if kind == 4 {
            let bad = good + "  broken: {comand: [x]}\n";
            let report = gateway.reload_to(&bad, json!({}));
            assert_eq!((&report["status"], &report["generation"]), (&json!("failed"), &json!(generation)), "{report}");
            continue;
        }
        let report = gateway.reload_to(&good, json!({}));
        check(&report, wanted, &next, &mut generation);
        *wanted = next;
        // Most of them live when the next change comes.
        if let Some(version) = wanted.0[which]
            && dice.roll(3) > 0
        {
            let call = gateway.client.start_tool(&format!("{}__args", CHANGING[which]), json!({})).wait();
            let text = call["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{call}"));
            assert!(text.contains(&format!("\"--version\",\"{version}\"")), "the new one answers: {text}");
        }
    }
    stop.store(true, Ordering::Relaxed);
}

fn check(report: &gateway::Value, before: &Wanted, after: &Wanted, generation: &mut u64) {
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
