//! Instances that are no child processes: sessions with a remote server, containers; and clients of `hangar connect`.

use std::thread;

use crate::{
    client::{Client, text},
    engine::Engine,
    gateway::{Gateway, Home, SOON, Value, eventually, json, ms},
    remote_process::Remote,
};

#[test]
fn each_client_has_a_session_of_its_own_with_a_remote_server() {
    let (home, remote) = (Home::new(), Remote::start(&[]));
    let provider = remote.provider("a", ", sharing: session");
    let (gateway, address) = Gateway::over_http(&home, &provider);
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({"elicitation": {}})));
    let stats = |client: &Client| -> Value { serde_json::from_str(&client.text("a__stats", json!({}))).unwrap() };
    let [first, second] = [stats(&one), stats(&other)];
    let greeted = "notifications/initialized";
    assert_eq!((&first[greeted], &second[greeted]), (&json!(1), &json!(2)), "{second}");
    let key = |stats: &Value| stats["headers"]["mcp-session-id"].clone();
    assert_ne!(key(&first), key(&second), "{first} {second}");
    assert_eq!(key(&stats(&one)), key(&first));
    // Both are asked at the same time, each in its own call.
    thread::scope(|scope| {
        for (client, name) in [(&one, "one"), (&other, "other")] {
            scope.spawn(move || {
                let params = json!({"name": "a__elicit", "arguments": {}});
                let answer = client.request_with("tools/call", &params, |_| {
                    thread::sleep(ms(200));
                    json!({"action": "accept", "content": {"name": name}})
                });
                assert!(text(&answer).contains(name), "{answer}");
            });
        }
    });
    eventually("both have their stream", SOON, || (stats(&one)["listeners"] == 2).then_some(()));
    other.delete();
    eventually("one is left", SOON, || (stats(&one)["listeners"] == 1).then_some(()));
    gateway.stop();
}

#[test]
fn each_client_has_a_container_of_its_own() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &engine.provider("a", &[], "sharing: session"));
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let count = |client: &Client| client.text("a__count", json!({}));
    assert_eq!([count(&one), count(&one), count(&other)], ["1", "2", "1"]);
    assert_eq!(engine.containers(&home).len(), 2);
    one.delete();
    eventually("its container is gone", SOON, || (engine.containers(&home).len() == 1).then_some(()));
    assert_eq!(count(&other), "2");
    gateway.stop();
    engine.assert_none_left(&home, ms(0));
}
