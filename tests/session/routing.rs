//! What an instance says, and what is said to it, is between it and its one client.

use std::thread;

use crate::{
    client::{Client, text},
    gateway::{Gateway, Home, SOON, eventually, holds_for, json, ms},
    served,
};

#[test]
fn questions_outside_of_every_call_reach_the_one_client_and_its_answer_comes_back() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let all = json!({"elicitation": {}, "sampling": {}, "roots": {}});
    let clients = [(); 2].map(|()| Client::open(address, all.clone()));
    for (method, params) in [
        ("elicitation/create", json!({"message": "who", "requestedSchema": {"type": "object"}})),
        ("sampling/createMessage", json!({"messages": [], "maxTokens": 1})),
        ("roots/list", json!({})),
    ] {
        let [one, other] = [(); 2].map(|()| Client::open(address, all.clone()));
        [&one, &other].into_iter().for_each(Client::listen);
        one.text("a__later", json!({"ask": true, "method": method, "params": params}));
        other.text("a__later", json!({"ask": true, "method": method, "params": params}));
        for (client, name) in [(&one, "one"), (&other, "other")] {
            let asked = client.wait_heard(method);
            assert_eq!(asked["params"], params, "{asked}");
            client.answer(&asked, &json!({"said": name}));
        }
        for (client, name) in [(&one, "one"), (&other, "other")] {
            let wanted = json!([json!({"said": name}).to_string()]).to_string();
            let told = || (client.text("a__answers", json!({})) == wanted).then_some(());
            eventually(&format!("{method}: {wanted}"), SOON, told);
            assert_eq!(client.heard(method).len(), 1);
        }
    }
    drop(clients);
    gateway.stop();
}

#[test]
fn two_clients_are_asked_in_their_calls_at_the_same_time() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || {
                let client = Client::open(address, json!({"elicitation": {}, "sampling": {}, "roots": {}}));
                for tool in ["a__elicit", "a__sample", "a__roots"] {
                    let params = json!({"name": tool, "arguments": {}});
                    let answer = client.request_with("tools/call", &params, |_| json!({"number": number}));
                    assert_eq!(text(&answer), json!({"number": number}).to_string(), "{answer}");
                }
            });
        }
    });
    gateway.stop();
}

#[test]
fn what_a_client_has_not_declared_it_is_not_asked_for() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let client = Client::open(address, json!({}));
    let answer = client.call("a__elicit", json!({}));
    assert!(text(&answer).contains("has not declared"), "{answer}");
    gateway.stop();
}

#[test]
fn a_question_right_at_the_start_finds_its_client_in_the_call_that_started_it() {
    let home = Home::new();
    let (gateway, address) = served(&home, &["--ask-roots"], "");
    let client = Client::open(address, json!({"roots": {}}));
    // No other stream is open.
    let params = json!({"name": "a__sleep", "arguments": {"ms": 500}});
    let slept = client.request_with("tools/call", &params, |asked| {
        assert_eq!(asked["method"], "roots/list");
        json!({"roots": []})
    });
    assert_eq!(text(&slept), "slept");
    eventually("answered", SOON, || (client.text("a__answers", json!({})) == r#"["{\"roots\":[]}"]"#).then_some(()));
    gateway.stop();
}

#[test]
fn an_answer_that_comes_after_the_call_has_ended_still_arrives() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let client = Client::open(address, json!({"elicitation": {}}));
    client.listen();
    let later = json!({"ask": true, "method": "elicitation/create", "params": {"message": "?"}, "ms": 1});
    client.text("a__later", later);
    let asked = client.wait_heard("elicitation/create");
    assert_eq!(client.text("a__echo", json!({})), "{}");
    client.answer(&asked, &json!({"action": "decline"}));
    let wanted = r#"["{\"action\":\"decline\"}"]"#;
    eventually("answered", SOON, || (client.text("a__answers", json!({})) == wanted).then_some(()));
    gateway.stop();
}

#[test]
fn an_instance_that_waits_for_its_clients_answer_is_not_idle() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "idle_ttl_s: 1");
    let client = Client::open(address, json!({"elicitation": {}}));
    client.listen();
    client.text("a__later", json!({"ask": true, "method": "elicitation/create", "params": {"message": "?"}, "ms": 1}));
    let asked = client.wait_heard("elicitation/create");
    let [being] = home.beings("a")[..] else { panic!("{:?}", home.beings("a")) };
    holds_for("it waits", ms(2500), || being.lives());
    client.answer(&asked, &json!({"action": "decline"}));
    let wanted = r#"["{\"action\":\"decline\"}"]"#;
    eventually("answered", SOON, || (client.text("a__answers", json!({})) == wanted).then_some(()));
    eventually("then it is idle", SOON, || (!being.lives()).then_some(()));
    gateway.stop();
}

#[test]
fn what_one_instance_writes_is_not_shown_to_other_clients() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    let log = |client: &Client| {
        let details = client.call("hangar_details", json!({"provider": "a"}));
        details["result"]["structuredContent"]["log"].as_array().unwrap().len()
    };
    other.pid();
    one.text("a__noise", json!({"lines": 3}));
    assert_eq!([log(&one), log(&other)], [3, 0]);
    let failed = other.call("a__exit", json!({"code": 1})).to_string();
    assert!(failed.contains("provider_exited") && !failed.contains("noise"), "{failed}");
    gateway.stop();
}

#[test]
fn a_shared_provider_that_cannot_tell_names_what_would_help() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let clients = [(); 2].map(|()| Client::open(address, json!({"elicitation": {}})));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| clients[0].text("a__sleep", json!({"ms": 1500})));
        thread::sleep(ms(300));
        let answer = text(&clients[1].call("a__elicit", json!({})));
        let error: crate::gateway::Value = serde_json::from_str(&answer).unwrap();
        assert!(error["message"].as_str().unwrap().contains("sharing: session"), "{error}");
        assert_eq!(error["data"], json!({"error": "not_routed", "provider": "a"}), "{error}");
        waiting.join().unwrap();
    });
    gateway.stop();
}

#[test]
fn notifications_outside_of_every_call_reach_the_one_client() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    [&one, &other].into_iter().for_each(Client::listen);
    other.pid();
    let sent = [
        ("notifications/message", json!({"level": "info", "data": {"n": 1.10}})),
        ("notifications/elicitation/complete", json!({"elicitationId": "e"})),
        ("notifications/vendor/thing", json!({"x": [1, 2]})),
    ];
    for (method, params) in &sent {
        one.text("a__later", json!({"method": method, "params": params}));
        assert_eq!(one.wait_heard(method)["params"], *params);
    }
    holds_for("nothing comes to the other", ms(300), || sent.iter().all(|(method, _)| other.heard(method).is_empty()));
    gateway.stop();
}

#[test]
fn a_changed_list_is_told_to_its_client_alone_and_only_its_list_changes() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    [&one, &other].into_iter().for_each(Client::listen);
    let [mine, theirs] = [one.tools(), other.tools()];
    assert_eq!(mine, theirs);
    other.pid();
    one.text("a__add_tool", json!({"name": "mine"}));
    one.wait_heard("notifications/tools/list_changed");
    assert!(one.tools().contains(&"a__mine".into()));
    assert_eq!(one.text("a__mine", json!({})), "mine {}");
    assert_eq!(other.tools(), theirs);
    let told = || other.heard("notifications/tools/list_changed").is_empty();
    holds_for("the other is not told", ms(300), told);
    gateway.stop();
}

#[test]
fn a_list_that_depends_on_the_client_is_its_own() {
    let home = Home::new();
    let (gateway, address) = served(&home, &["--roots-tool"], "");
    let plain = Client::open(address, json!({}));
    let before = plain.tools();
    assert!(!before.contains(&"a__with_roots".into()));
    let rooted = Client::open(address, json!({"roots": {}}));
    rooted.listen();
    // Known by what others were offered, until its own instance says otherwise.
    assert_eq!(rooted.tools(), before);
    plain.pid();
    rooted.pid();
    rooted.wait_heard("notifications/tools/list_changed");
    assert!(rooted.tools().contains(&"a__with_roots".into()));
    assert_eq!(plain.tools(), before);
    gateway.stop();
}

#[test]
fn changed_roots_are_told_to_the_clients_own_instance() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({"roots": {"listChanged": true}})));
    let changes = |client: &Client| client.text("a__roots_changed", json!({}));
    assert_eq!([changes(&one), changes(&other)], ["0", "0"]);
    one.notify("notifications/roots/list_changed", &json!({}));
    eventually("told", SOON, || (changes(&one) == "1").then_some(()));
    assert_eq!(changes(&other), "0");
    gateway.stop();
}

#[test]
fn levels_and_subscriptions_are_the_clients_own() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "idle_ttl_s: 1");
    let [one, other] = [(); 2].map(|()| Client::open(address, json!({})));
    [&one, &other].into_iter().for_each(Client::listen);
    let uri = "hangar://a/test://one";
    let level = |client: &Client| client.text("a__log_level", json!({}));
    let subscribed = |client: &Client| client.text("a__subscriptions", json!({}));
    other.pid();
    one.request("logging/setLevel", &json!({"level": "error"}));
    eventually("told at the start", SOON, || (level(&one) == "error").then_some(()));
    assert_eq!(level(&other), "");
    one.request("logging/setLevel", &json!({"level": "debug"}));
    eventually("told at once", SOON, || (level(&one) == "debug").then_some(()));
    for client in [&one, &other] {
        assert_eq!(client.request("resources/subscribe", &json!({"uri": uri}))["result"], json!({}));
    }
    assert_eq!(one.request("resources/unsubscribe", &json!({"uri": uri}))["result"], json!({}));
    assert_eq!([subscribed(&one), subscribed(&other)], ["[]", r#"["test://one"]"#]);
    assert_eq!(one.request("resources/subscribe", &json!({"uri": uri}))["result"], json!({}));
    one.text("a__update_resource", json!({"uri": "test://one"}));
    assert_eq!(one.wait_heard("notifications/resources/updated")["params"]["uri"], uri);
    let quiet = || other.heard("notifications/resources/updated").is_empty();
    holds_for("the other's instance has said nothing", ms(300), quiet);
    // A new instance is told again what its client is subscribed to.
    let pid = one.pid();
    eventually("stopped when idle", SOON, || crate::gateway::Being::of(pid).is_none().then_some(()));
    eventually("subscribed again", SOON, || (subscribed(&one) == r#"["test://one"]"#).then_some(()));
    assert_eq!(level(&one), "debug");
    gateway.stop();
}
