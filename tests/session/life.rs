//! An instance for each session, from its first call to the end of the session.

use crate::{
    client::Client,
    gateway::{Being, Gateway, Home, SOON, Signal, UNWATCHED, config, eventually, json, ms, signal},
    per_client, served, view,
};

#[test]
fn two_sessions_have_two_processes_and_nothing_in_common() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    assert_ne!(one.pid(), other.pid());
    assert_eq!(one.pid(), one.pid());
    let count = |client: &Client| client.text("a__count", json!({}));
    assert_eq!([count(&one), count(&one), count(&other), count(&one)], ["1", "2", "1", "3"]);
    assert_eq!(home.start_count("a"), 2);
    let seen = view(&gateway, address);
    let pids: Vec<u64> = seen["instances"].as_array().unwrap().iter().map(|own| own["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [u64::from(one.pid()), u64::from(other.pid())], "{seen}");
    assert_eq!((&seen["state"], &seen["starts"]), (&json!("ready"), &json!(2)), "{seen}");
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn what_the_client_declared_is_declared_and_nothing_else() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let rich = json!({"elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": true}, "x": {"y": 1}});
    let declared = Client::open(address, rich).text("a__declared", json!({}));
    assert_eq!(declared, r#"{"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}}"#);
    assert_eq!(Client::open(address, json!({})).text("a__declared", json!({})), "{}");
    gateway.stop();
}

#[test]
fn a_deleted_session_takes_its_instance_with_it_and_no_other() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let (gone, stays) = (one.pid(), other.pid());
    one.delete();
    eventually("its process is gone", SOON, || Being::of(gone).is_none().then_some(()));
    assert_eq!(other.pid(), stays);
    assert_eq!(view(&gateway, address)["instances"].as_array().unwrap().len(), 1);
    gateway.stop();
}

#[test]
fn a_session_that_expires_takes_its_instance_with_it() {
    let home = Home::new();
    home.put(&config(&per_client(&home, &[], "idle_ttl_s: 0"), &format!("{UNWATCHED}server: {{session_idle_s: 1}}\n")));
    let (gateway, address) = again_over_http(&home);
    let pid = Client::open(address, json!({})).pid();
    eventually("its process is gone", SOON * 4, || Being::of(pid).is_none().then_some(()));
    gateway.stop();
}

pub fn again_over_http(home: &std::sync::Arc<Home>) -> (Gateway, std::net::SocketAddr) {
    let gateway = Gateway::spawn_options(home, &["--http", "--port", "0"]);
    gateway.wait_for_log("gateway_started");
    let log = gateway.log();
    let address = log.split("address=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    (gateway, address.parse().unwrap())
}

#[test]
fn only_the_idle_instance_is_stopped_and_the_next_call_has_a_new_one() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "idle_ttl_s: 1");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let (idle, busy) = (one.pid(), other.pid());
    eventually("the idle one is gone", SOON, || {
        assert_eq!(other.pid(), busy, "a call each moment");
        Being::of(idle).is_none().then_some(())
    });
    assert_ne!(one.pid(), idle);
    assert_eq!(one.text("a__count", json!({})), "1");
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn a_crash_is_one_clients_alone() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let (crashing, stays) = (one.pid(), other.pid());
    let failed = one.call("a__exit", json!({"code": 3}));
    assert_eq!(failed["error"]["data"]["error"], "provider_exited", "{failed}");
    assert_eq!(other.pid(), stays);
    assert_ne!(one.pid(), crashing);
    gateway.stop();
}

#[test]
fn a_start_that_fails_holds_back_its_own_client_alone() {
    let home = Home::new();
    let counter = home.path("logs/counter");
    let args = ["--crash-starts", "2", "--counter", counter.to_str().unwrap()];
    let (gateway, address) = served(&home, &args, "max_consecutive_failures: 2, protocol: legacy");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let failed = one.call("a__pid", json!({}));
    assert_eq!(failed["error"]["data"]["error"], "provider_not_started", "{failed}");
    let failed = other.call("a__pid", json!({}));
    assert_eq!(failed["error"]["data"]["error"], "provider_not_started", "{failed}");
    let held_back = one.call("a__pid", json!({}));
    assert!(held_back["error"]["message"].as_str().unwrap().contains("tried again in"), "{held_back}");
    let third = Client::open(address, json!({}));
    third.pid();
    let seen = view(&gateway, address);
    assert_eq!((&seen["state"], &seen["consecutive_failures"]), (&json!("ready"), &json!(1)), "{seen}");
    eventually("tried again", SOON, || one.call("a__pid", json!({})).get("result").is_some().then_some(()));
    gateway.stop();
}

#[test]
fn no_more_clients_than_may_have_an_instance_and_the_refusal_says_so() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "max_instances: 2");
    let [one, other, third] = [(); 3].map(|()| Client::open(address, json!({})));
    let pids = [one.pid(), other.pid()];
    for _ in 0..4 {
        let refused = third.call("a__pid", json!({}));
        let data = &refused["error"]["data"];
        assert_eq!((&data["error"], &data["max_instances"]), (&json!("too_many_instances"), &json!(2)), "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("max_instances"), "{refused}");
    }
    assert_eq!([one.pid(), other.pid()], pids);
    one.delete();
    eventually("there is room", SOON, || third.call("a__pid", json!({})).get("result").is_some().then_some(()));
    gateway.stop();
}

#[test]
fn max_concurrency_holds_for_each_instance() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "max_concurrency: 1");
    let clients = [(); 3].map(|()| Client::open(address, json!({})));
    clients.iter().for_each(Client::wake);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| client.text("a__sleep", json!({"ms": 1000})));
        }
    });
    assert!(began.elapsed() < ms(2500), "{:?}", began.elapsed());
    gateway.stop();
}

#[test]
fn the_stdio_client_has_its_own_and_it_ends_with_the_gateway() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &per_client(&home, &[], ""));
    assert_eq!(gateway.client.text("a__count", json!({})), "1");
    let report = gateway.client.structured("hangar_call", json!({"calls": [{"provider": "a", "tool": "count"}]}));
    assert_eq!(report["results"][0]["result"]["content"][0]["text"], "2", "the caller's own instance: {report}");
    assert_eq!(gateway.provider("a")["instances"].as_array().unwrap().len(), 1);
    gateway.client.close();
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    home.assert_nothing_left(ms(0));
    home.assert_starts_equal_stops("a");
    assert_eq!(home.start_count("a"), 1, "the instance of the client has told the tools, too");
}

#[test]
fn the_control_tools_start_and_stop_the_callers_own() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let stays = other.pid();
    let started = one.call("hangar_start", json!({"provider": "a"}));
    assert_eq!(started["result"]["structuredContent"]["instances"].as_array().unwrap().len(), 2, "{started}");
    let pid = one.pid();
    one.call("hangar_stop", json!({"provider": "a"}));
    assert!(Being::of(pid).is_none(), "stopped when it is answered");
    assert_eq!(other.pid(), stays);
    assert_ne!(one.pid(), pid);
    gateway.stop();
}

#[test]
fn a_killed_gateway_leaves_no_instance() {
    let home = Home::new();
    let (mut gateway, address) = served(&home, &[], "");
    let clients: Vec<_> = (0..4).map(|_| Client::open(address, json!({}))).collect();
    clients.iter().for_each(Client::wake);
    signal(gateway.pid(), Signal::KILL);
    gateway.wait_exit(SOON);
    home.assert_nothing_left(SOON);
}
