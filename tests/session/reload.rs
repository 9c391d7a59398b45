//! Reloads: what is unchanged keeps every instance, what is not retires all of them.

use std::{thread, time::Duration};

use crate::{
    client::{Client, exchange, text},
    gateway::{Being, Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json, ms},
    per_client, served,
};

fn reload(client: &Client, home: &Home, providers: &str) -> Value {
    home.put(&config(providers, UNWATCHED));
    client.call("hangar_reload_config", json!({}))["result"]["structuredContent"].take()
}

#[test]
fn unchanged_keeps_every_process_and_updated_replaces_all() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let clients = [(); 3].map(|()| Client::open(address, json!({})));
    let pids = clients.each_ref().map(Client::pid);
    let again = per_client(&home, &[], "") + &home.provider("b", &[], "");
    let report = reload(&clients[0], &home, &again);
    assert_eq!(report["providers_unchanged"], json!(["a"]), "{report}");
    assert_eq!(clients.each_ref().map(Client::pid), pids);
    let report = reload(&clients[0], &home, &per_client(&home, &["--version", "2"], ""));
    assert_eq!((&report["providers_updated"], &report["draining"]), (&json!(["a"]), &json!(["a"])), "{report}");
    let fresh = clients.each_ref().map(Client::pid);
    for pid in pids {
        assert!(!fresh.contains(&pid));
        assert!(
            Being::of(pid).is_none(),
            "a client's new instance starts when its old one is gone; this one was gone with it"
        );
    }
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn removed_lets_the_calls_in_flight_finish() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let clients = [(); 2].map(|()| Client::open(address, json!({})));
    clients.iter().for_each(Client::wake);
    thread::scope(|scope| {
        let calls: Vec<_> =
            clients.iter().map(|client| scope.spawn(|| client.text("a__sleep", json!({"ms": 1500})))).collect();
        thread::sleep(ms(300));
        let report = reload(&clients[0], &home, "");
        assert_eq!(report["providers_removed"], json!(["a"]), "{report}");
        let gone = clients[1].call("a__pid", json!({}));
        assert!(gone.get("error").is_some(), "{gone}");
        calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap(), "slept"));
    });
    home.assert_nothing_left(SOON);
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn from_shared_to_session_and_back_never_both() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let shared = one.pid();
    assert_eq!(other.pid(), shared);
    let report = reload(&one, &home, &per_client(&home, &[], ""));
    assert_eq!(report["changed_fields"], json!({"a": ["sharing"]}), "{report}");
    let own = [one.pid(), other.pid()];
    assert_ne!(own[0], own[1]);
    assert!(Being::of(shared).is_none());
    reload(&one, &home, &home.provider("a", &[], ""));
    let shared = other.pid();
    assert_eq!(one.pid(), shared);
    assert!(own.iter().all(|pid| Being::of(*pid).is_none()), "the shared one waits for all of them");
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn a_full_house_is_no_obstacle_to_a_reload() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "max_instances: 2");
    let clients = [(); 2].map(|()| Client::open(address, json!({})));
    for version in 1..6 {
        clients.iter().for_each(Client::wake);
        let version = version.to_string();
        reload(&clients[0], &home, &per_client(&home, &["--version", &version], "max_instances: 2"));
        thread::scope(|scope| clients.iter().for_each(|client| drop(scope.spawn(|| client.pid()))));
    }
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn a_verified_reload_starts_one_beside_and_the_clients_change_over() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let client = Client::open(address, json!({}));
    let before = client.pid();
    home.put(&config(&per_client(&home, &["--handshake", "error"], ""), UNWATCHED));
    let refused = client.call("hangar_reload_config", json!({"verify": true}));
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert_eq!(client.pid(), before);
    home.put(&config(&per_client(&home, &["--version", "2"], ""), UNWATCHED));
    let report = client.call("hangar_reload_config", json!({"verify": true}));
    assert_eq!(report["result"]["structuredContent"]["status"], "success", "{report}");
    assert_ne!(client.pid(), before);
    gateway.stop();
}

#[test]
fn a_restart_in_place_gives_each_client_a_new_instance() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({"roots": {}})));
    let before = [one.pid(), other.pid()];
    gateway.signal(crate::gateway::Signal::USR2);
    eventually("the next life serves", SOON * 2, || gateway.log().contains("gateway_restarted").then_some(()));
    let served = || {
        let (head, _) = exchange(address, "GET", &[], "");
        head.starts_with("http/1.1 400").then_some(())
    };
    eventually("it answers", SOON, served);
    let after = [one.pid(), other.pid()];
    assert_ne!(after[0], after[1]);
    assert!(before.iter().all(|pid| Being::of(*pid).is_none()));
    assert_eq!(one.text("a__declared", json!({})), r#"{"roots":{}}"#);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(text(&one.call("a__count", json!({}))), "1");
    gateway.stop();
}
