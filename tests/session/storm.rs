//! Sessions that come, call and go while a reload happens every 100 ms: every call is answered or fails by name, and no process
//! is left over.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    gateway::{Home, SOON, UNWATCHED, config, json, ms},
    per_client, served,
};

const AT_ONCE: usize = 64;

/// `HANGAR_STORM=1000` for the long run, as for the other storms.
fn sessions_in_a_row() -> usize {
    std::env::var("HANGAR_STORM").ok().and_then(|n| n.parse::<usize>().ok()).map_or(4, |n| n / 10)
}

/// What a call may fail by when its provider is replaced under it.
const EXPLICIT: [&str; 3] = ["provider_retired", "provider_stopped", "provider_not_started"];

#[test]
fn sessions_come_and_go_while_the_file_changes() {
    let home = Home::new();
    // One that is stopped while it starts may take its time on a busy machine.
    let keys = "max_instances: 200, drain_timeout_s: 5, stop: {grace_s: 10}";
    let (gateway, address) = served(&home, &[], keys);
    let (calls, failed, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                let (calls, failed) = (&calls, &failed);
                scope.spawn(move || {
                    for number in 0..sessions_in_a_row() {
                        session(address, worker * 100 + number, calls, failed);
                    }
                })
            })
            .collect();
        let reloader = scope.spawn(|| {
            let client = Client::open(address, json!({}));
            for version in 0.. {
                if over.load(Ordering::Relaxed) {
                    return version;
                }
                // Every third changes something.
                let version_text = (version / 3).to_string();
                home.put(&config(&per_client(&home, &["--version", &version_text], keys), UNWATCHED));
                let report = client.call("hangar_reload_config", json!({}));
                assert_eq!(report["result"]["structuredContent"]["status"], "success", "{report}");
                thread::sleep(ms(100));
            }
            0
        });
        let results: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let reloads = reloader.join().unwrap();
        results.into_iter().for_each(|result| result.unwrap());
        assert!(reloads > 5, "{reloads} reloads");
        eprintln!("{calls:?} calls, {failed:?} failed by name, {reloads} reloads, {} starts", home.start_count("a"));
    });
    let began = gateway.log().matches(" provider_started ").count();
    gateway.signal(crate::gateway::Signal::TERM);
    let mut gateway = gateway;
    assert_eq!(gateway.wait_exit(SOON * 2).code(), Some(0));
    home.assert_nothing_left(ms(0));
    home.assert_starts_equal_stops("a");
    crate::gateway::eventually("the log is read", SOON, || {
        let log = gateway.log();
        let ended = log.matches(" provider_stopped ").count();
        (ended == log.matches(" provider_started ").count() && ended >= began).then_some(())
    });
}

/// One client, until it has been served for a while.
fn session(address: std::net::SocketAddr, number: usize, calls: &AtomicUsize, failed: &AtomicUsize) {
    let client = Client::open(address, json!({"elicitation": {}}));
    let began = Instant::now();
    let mut nonce = 0;
    while began.elapsed() < Duration::from_millis(500) || nonce < 5 {
        nonce += 1;
        let answer = client.call("a__echo", json!({"number": number, "nonce": nonce}));
        calls.fetch_add(1, Ordering::Relaxed);
        match answer.get("error") {
            None => {
                let text = format!(r#"{{"number":{number},"nonce":{nonce}}}"#);
                assert_eq!(answer["result"]["content"][0]["text"], text, "{answer}");
            }
            Some(error) => {
                failed.fetch_add(1, Ordering::Relaxed);
                let name = error["data"]["error"].as_str().unwrap_or_default();
                assert!(EXPLICIT.contains(&name), "{answer}");
            }
        }
    }
    // Half of them leave without a word.
    if number.is_multiple_of(2) {
        client.delete();
    }
}
