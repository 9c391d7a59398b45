//! What gateways that were killed have left is ended by the next one that starts on the same state directory, and what
//! belongs to a living neighbour is not.

#[path = "support/gateway.rs"]
mod gateway;

use std::{collections::BTreeSet, fs::File, time::Duration};

use gateway::{Being, Gateway, Home, SOON, Signal, eventually, json, ms, processes::parent, signal};

/// The processes of a provider, once there are as many.
fn beings(home: &Home, name: &str, count: usize) -> BTreeSet<Being> {
    let all = || home.beings(name).into_iter().collect::<BTreeSet<_>>();
    eventually("all have written themselves down", SOON, || Some(all()).filter(|all| all.len() == count))
}

/// The gateway and its provider's shim are killed in one moment: neither can do anything about the other's death.
fn kill_with_shim(gateway: &mut Gateway, provider: u32) {
    let shim = parent(provider);
    // The sweeps of those that have just started are over.
    let lock = gateway.home.path("state/hangar/sweep.lock");
    let free = || File::options().append(true).open(&lock).ok().filter(|file| file.try_lock().is_ok());
    eventually("nobody sweeps", SOON, free);
    gateway.signal(Signal::STOP);
    signal(shim, Signal::KILL);
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    let gone = || Being::of(shim).is_none() && Being::of(provider).is_none();
    eventually("the shim is gone, and the server with it", SOON, || gone().then_some(()));
}

#[test]
fn what_outlived_gateway_and_shim_is_swept_at_the_next_start_and_a_neighbour_loses_nothing() {
    let home = Home::new();
    let family = ["--grandchild", "setsid,stubborn", "--grandchild", "double-fork,stubborn"];
    let mut gateway = Gateway::start(&home, &home.provider("a", &family, ""));
    gateway.client.tool("hangar_start", json!({"provider": "a"}));
    let all = beings(&home, "a", 3);
    let neighbour = Gateway::start(&home, &home.provider("n", &["--grandchild", "setsid"], ""));
    let pid = neighbour.client.pid_of("n");
    let friends = beings(&home, "n", 2);

    let server = home.starts("a")[0].1;
    kill_with_shim(&mut gateway, server);
    let left: Vec<_> = all.iter().filter(|being| being.lives()).collect();
    assert_eq!(left.len(), 2, "the server died with its shim, its descendants live: {left:?}");

    let next = Gateway::start(&home, "");
    eventually("they are swept", SOON, || all.iter().all(|being| !being.lives()).then_some(()));
    for being in left {
        let told = |log: &str| {
            log.lines().any(|line| line.contains(&format!("process_swept provider=\"a\" pid={} ", being.pid)))
        };
        eventually("it is told of each", SOON, || told(&next.log()).then_some(()));
    }
    assert_eq!(neighbour.client.pid_of("n"), pid);
    assert!(friends.iter().all(|being| being.lives()));
    drop(next);
    neighbour.stop();
}

#[test]
fn a_shim_that_still_waits_for_its_server_is_told_to_ask_harder() {
    let home = Home::new();
    let patient = "stop: {grace_s: 25, term_s: 5}";
    let mut gateway = Gateway::start(&home, &home.provider("a", &["--ignore-eof", "--grandchild", "setsid"], patient));
    gateway.client.tool("hangar_start", json!({"provider": "a"}));
    let all = beings(&home, "a", 2);
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    std::thread::sleep(ms(300));
    assert!(home.starts("a").len() == 1, "its shim waits: {:?}", home.starts("a"));
    let next = Gateway::start(&home, "");
    eventually("all are gone", Duration::from_secs(5), || all.iter().all(|being| !being.lives()).then_some(()));
    // It got a SIGTERM and its time, and not a SIGKILL.
    home.assert_starts_equal_stops("a");
    next.wait_for_log("process_swept");
    next.stop();
}

#[test]
fn several_gateways_that_start_at_once_sweep_in_turn() {
    let home = Home::new();
    let family = ["--grandchild", "setsid,stubborn"];
    let mut gateway = Gateway::start(&home, &home.provider("a", &family, ""));
    gateway.client.tool("hangar_start", json!({"provider": "a"}));
    let all = beings(&home, "a", 2);
    let server = home.starts("a")[0].1;
    kill_with_shim(&mut gateway, server);
    home.put(&gateway::config("", gateway::UNWATCHED));
    let all_started: Vec<_> = (0..4).map(|_| Gateway::spawn(&home)).collect();
    for gateway in &all_started {
        gateway.client.initialize(json!({}));
    }
    eventually("it is swept", SOON, || all.iter().all(|being| !being.lives()).then_some(()));
    let swept = || all_started.iter().map(|gateway| gateway.log().matches("process_swept").count()).sum::<usize>();
    eventually("one of them tells", SOON, || (swept() > 0).then_some(()));
    assert_eq!(swept(), 1, "only one saw it");
    all_started.into_iter().for_each(Gateway::stop);
}
