//! Calls that need their client in the middle go on with the member that asked.

use crate::{gateway::UNWATCHED, gateway::config, rig::*};

const VERSION: &str = "2026-07-28";
const PAIR: &str = "members: [{id: a}, {id: b}]";

fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        "io.modelcontextprotocol/clientInfo": {"name": "modern-test", "version": "1"},
    });
    params
}

fn started(home: &std::sync::Arc<Home>, a: &str, b: &str, capabilities: Value) -> Gateway {
    let providers = members(home, &[("a", &["--era", a], ""), ("b", &["--era", b], "")]);
    home.put(&config(&(providers + &workers(PAIR)), UNWATCHED));
    let gateway = Gateway::spawn(home);
    gateway.client.initialize(capabilities);
    gateway
}

/// Which member has been sent more calls than before.
fn counts(home: &Home) -> (usize, usize) {
    (sent(home, "a"), sent(home, "b"))
}

#[test]
fn a_modern_clients_answer_goes_to_the_member_that_asked() {
    let home = Home::new();
    let gateway = started(&home, "modern", "modern", json!({}));
    let call = |more: Value| {
        let mut params = json!({"name": "workers__rounds", "arguments": {"n": 2}});
        params.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        gateway.client.request("tools/call", modern(params))["result"].take()
    };
    let first = call(json!({}));
    assert_eq!(first["requestState"], "hangar.member.1.a.mine:1", "{first}");
    assert_eq!(first["x-more"], 1, "nothing else is touched");
    assert_eq!(who_modern(&gateway), "b", "somebody else's call in between");
    let second = call(json!({"requestState": first["requestState"], "inputResponses": {"q": {"action": "accept"}}}));
    assert_eq!(second["requestState"], "hangar.member.1.a.mine:2", "{second}");
    let done = call(json!({"requestState": second["requestState"], "inputResponses": {"q": {"action": "accept"}}}));
    assert!(done["content"][0]["text"].as_str().unwrap().contains("\"rounds\":2"), "{done}");
    assert_eq!(counts(&home), (3, 1));
    assert_eq!(member(&gateway, "a")["calls"], 3);
    // Out of service in between.
    let first = call(json!({}));
    assert!(first["requestState"].as_str().unwrap().contains(".a."), "{first}");
    let only = members(&home, &[("a", &["--era", "modern"], "enabled: false"), ("b", &["--era", "modern"], "")]);
    gateway.reload(&(only + &workers(PAIR)));
    let params = json!({"name": "workers__rounds", "arguments": {"n": 2}, "requestState": first["requestState"],
        "inputResponses": {"q": {}}});
    let error = gateway.client.request("tools/call", modern(params))["error"].take();
    assert!(error["message"].as_str().unwrap().contains("its member \"a\" has begun"), "{error}");
    assert_eq!(error["data"]["reason"], "member_gone", "{error}");
    gateway.stop();
}

fn who_modern(gateway: &Gateway) -> String {
    let answer = gateway.client.request("tools/call", modern(json!({"name": "workers__args", "arguments": {}})));
    named(answer["result"]["content"][0]["text"].as_str().unwrap())
}

#[test]
fn a_legacy_client_is_asked_by_a_modern_member_which_gets_the_answer() {
    let home = Home::new();
    let gateway = started(&home, "modern", "modern", json!({"elicitation": {}}));
    let call = gateway.client.start_tool("workers__rounds", json!({"n": 2}));
    for round in 1..=2 {
        let asked = gateway.client.wait_messages("elicitation/create", round)[round - 1].clone();
        let result = json!({"action": "accept"});
        gateway.client.raw(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string());
    }
    let answer = call.wait();
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("\"rounds\":2"), "{answer}");
    assert_eq!(counts(&home), (3, 0));
    gateway.stop();
}

#[test]
fn members_of_both_eras_serve_clients_of_both() {
    let home = Home::new();
    let gateway = started(&home, "legacy", "modern", json!({"elicitation": {}}));
    assert_eq!(turns(&gateway, 4), "abab");
    assert_eq!((0..4).map(|_| who_modern(&gateway)).collect::<String>(), "abab");
    // Parked on the legacy member, and gone on with there.
    let call = |more: Value| {
        let mut params = json!({"name": "workers__elicit", "arguments": {}});
        params.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        gateway.client.request("tools/call", modern(params))["result"].take()
    };
    let before = counts(&home);
    let asked = call(json!({}));
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let done = call(json!({"requestState": asked["requestState"], "inputResponses": {key: {"action": "accept"}}}));
    assert!(done.to_string().contains("accept"), "{done}");
    assert_eq!(counts(&home), (before.0 + 1, before.1));
    gateway.stop();
}

#[test]
fn a_task_belongs_to_the_member_that_made_it() {
    let home = Home::new();
    let providers = members(&home, &[("a", &["--tasks"], ""), ("b", &["--tasks"], "")]);
    let gateway = Gateway::start(&home, &(providers + &workers(PAIR)));
    let mut ids = Vec::new();
    for nonce in 0..4 {
        let call = json!({"name": "workers__task", "arguments": {"ms": 100, "nonce": nonce}, "task": {"ttl": 60_000}});
        let made = gateway.client.request("tools/call", call)["result"].take();
        ids.push(made["task"]["taskId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned());
    }
    let of: String = ids.iter().map(|id| &id[..1]).collect();
    assert_eq!(of, "abab");
    for (nonce, id) in ids.iter().enumerate() {
        let result = gateway.client.request("tasks/result", json!({"taskId": id}))["result"].take();
        assert!(result["content"][0]["text"].as_str().unwrap().contains(&format!("\"nonce\":{nonce}")), "{result}");
    }
    gateway.stop();
}
