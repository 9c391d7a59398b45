//! A provider that is a process, then a container, then a process again, while its neighbours are called.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    engine::Engine,
    gateway::{Gateway, Home, SOON, UNWATCHED, config, eventually, json, ms},
    rounds,
};

const NEIGHBOURS: [&str; 3] = ["n0", "n1", "nbox"];

#[test]
fn storm_switch_between_process_and_container() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    // Both kinds write their starts and stops into the same file.
    let (logs, starts) = (home.path("logs").display().to_string(), home.path("logs/a.starts").display().to_string());
    let log = ["--log-starts", "/logs/a.starts"];
    let keys = format!("user: current, volumes: [\"{logs}:/logs\"]");
    let container = engine.provider("a", &log, &keys);
    let process = home.provider("a", &[], "");
    let neighbours = home.provider("n0", &[], "") + &home.provider("n1", &[], "") + &engine.provider("nbox", &[], "");
    let gateway = Gateway::start(&home, &format!("{process}{neighbours}"));
    gateway.client.tool("hangar_warm", json!({}));
    let pids: Vec<_> = ["n0", "n1"].map(|name| gateway.client.pid_of(name)).into();

    let (rounds, done) = (rounds(6), AtomicBool::new(false));
    let (calls, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for name in NEIGHBOURS {
            let (gateway, done, calls, failed) = (&gateway, &done, &calls, &failed);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let answer = gateway.client.start_tool(&format!("{name}__echo"), json!({"a": 1})).wait();
                    calls.fetch_add(1, Ordering::Relaxed);
                    if answer["result"]["content"][0]["text"] != r#"{"a":1}"# {
                        failed.fetch_add(1, Ordering::Relaxed);
                        eprintln!("{name}: {answer}");
                    }
                    thread::sleep(ms(5));
                }
            });
        }
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..=rounds {
                let kind = if round % 2 == 1 { &container } else { &process };
                home.put(&config(&format!("{kind}{neighbours}"), UNWATCHED));
                let report = gateway.client.structured("hangar_reload_config", json!({"graceful": round % 3 != 0}));
                assert_eq!(report["providers_updated"], json!(["a"]), "round {round}: {report}");
                // Not always: an update may come before the one before has even started.
                if round % 5 != 0 {
                    assert_eq!(gateway.client.text("a__echo", json!({"r": round})), format!("{{\"r\":{round}}}"));
                }
            }
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = finished {
            std::panic::resume_unwind(panic);
        }
    });
    let took = start.elapsed();
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert_eq!(["n0", "n1"].map(|name| gateway.client.pid_of(name)), pids[..]);
    gateway.client.structured("hangar_stop", json!({"provider": "a"}));
    gateway.wait_state("a", "cold");
    // The last update's predecessor may still be on its way out.
    eventually("only the neighbour's container is left", SOON, || {
        let mut left = engine.containers(&home).into_iter().map(|c| c["Config"]["Labels"]["hangar.provider"].clone());
        (left.next()? == "nbox" && left.next().is_none()).then_some(())
    });
    let text = std::fs::read_to_string(&starts).unwrap();
    let count = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(count("start"), count("stop"), "{text}");
    gateway.stop();
    engine.assert_none_left(&home, Duration::ZERO);
    eprintln!(
        "{rounds} switches in {took:?}: {} starts, {} stops, {} calls to neighbours, 0 failed, 0 containers left",
        count("start"),
        count("stop"),
        calls.load(Ordering::Relaxed)
    );
}
