//! Clients without sessions: a call has an instance for itself, as long as it is parked too; what one connection brings stays
//! together.

use crate::{
    client::{MODERN, modern, text},
    gateway::{Being, Gateway, Home, SOON, Value, eventually, json},
    per_client, served,
};

fn named(tool: &str) -> Value {
    json!({"name": tool, "arguments": {}})
}

#[test]
fn a_call_over_http_has_an_instance_for_itself_that_ends_with_it() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let pid = |()| -> u32 { text(&modern(address, "tools/call", &named("a__pid"), &json!({}))).parse().unwrap() };
    let [one, other] = [(); 2].map(pid);
    assert_ne!(one, other);
    eventually("both are gone", SOON, || [one, other].iter().all(|pid| Being::of(*pid).is_none()).then_some(()));
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn a_parked_call_keeps_its_instance_until_it_is_resumed() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let able = json!({"elicitation": {}});
    let begin = |()| modern(address, "tools/call", &named("a__elicit"), &able)["result"].take();
    let parked = [(); 2].map(begin);
    assert_eq!(home.start_count("a"), 2);
    for (number, parked) in parked.iter().enumerate() {
        assert_eq!(parked["resultType"], "input_required", "{parked}");
        let key = parked["inputRequests"].as_object().unwrap().keys().next().unwrap();
        let mut retry = named("a__elicit");
        retry["requestState"] = parked["requestState"].clone();
        retry["inputResponses"] = json!({key: {"action": "accept", "content": {"n": number}}});
        let answer = modern(address, "tools/call", &retry, &able);
        let told: Value = serde_json::from_str(&text(&answer)).unwrap();
        assert_eq!(told["content"]["n"], number, "{answer}");
    }
    eventually("all are gone", SOON, || home.beings("a").iter().all(|being| !being.lives()).then_some(()));
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

fn on_stdio(gateway: &Gateway, tool: &str, more: Value, capabilities: &Value) -> Value {
    let mut params = named(tool);
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    });
    params.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    gateway.client.request("tools/call", params)
}

#[test]
fn the_calls_of_one_connection_have_one_instance_and_those_that_can_be_asked_one_each() {
    let home = Home::new();
    home.put(&crate::gateway::config(&per_client(&home, &[], ""), crate::gateway::UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let count = |capabilities: Value| text(&on_stdio(&gateway, "a__count", json!({}), &capabilities));
    assert_eq!([count(json!({})), count(json!({}))], ["1", "2"]);
    let able = json!({"elicitation": {}});
    assert_eq!([count(able.clone()), count(able.clone())], ["1", "2"], "other capabilities, another instance");
    let parked = on_stdio(&gateway, "a__elicit", json!({}), &able)["result"].take();
    assert_eq!(parked["resultType"], "input_required", "{parked}");
    assert_eq!(count(able.clone()), "1", "the one with the parked call is taken");
    let key = parked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let retry = json!({"requestState": parked["requestState"], "inputResponses": {key: {"action": "decline"}}});
    assert_eq!(text(&on_stdio(&gateway, "a__elicit", retry, &able)), r#"{"action":"decline"}"#);
    assert_eq!(count(able), "3", "the first one is free again");
    assert_eq!(home.start_count("a"), 3);
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn who_listens_on_a_connection_hears_of_its_instance() {
    let home = Home::new();
    home.put(&crate::gateway::config(&per_client(&home, &[], ""), crate::gateway::UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let uri = "hangar://a/test://one";
    let filter = json!({"toolsListChanged": true, "resourceSubscriptions": [uri]});
    let listening = gateway.client.send("subscriptions/listen", json!({"notifications": filter, "_meta": meta}));
    gateway.client.wait_messages("notifications/subscriptions/acknowledged", 1);
    let call =
        |tool: &str, arguments: Value| text(&on_stdio(&gateway, tool, json!({"arguments": arguments}), &json!({})));
    eventually("subscribed", SOON, || (call("a__subscriptions", json!({})) == r#"["test://one"]"#).then_some(()));
    call("a__update_resource", json!({"uri": "test://one"}));
    let update = gateway.client.wait_messages("notifications/resources/updated", 1).remove(0);
    assert_eq!(update["params"]["uri"], uri, "{update}");
    call("a__add_tool", json!({"name": "mine"}));
    gateway.client.wait_messages("notifications/tools/list_changed", 1);
    let list = gateway.client.request("tools/list", json!({"_meta": meta})).to_string();
    assert!(list.contains("a__mine"), "{list}");
    assert_eq!(home.start_count("a"), 1);
    drop(listening);
    gateway.stop();
}

#[test]
fn an_upstream_without_sessions_shares_one_instance_among_clients_without_sessions() {
    let home = Home::new();
    let (gateway, address) = served(&home, &["--era", "modern"], "");
    modern(address, "tools/list", &json!({}), &json!({}));
    let pid = |()| text(&modern(address, "tools/call", &named("a__pid"), &json!({})));
    let [one, other] = [(); 2].map(pid);
    assert_eq!(one, other);
    let [one, other] = [(); 2].map(|()| crate::client::Client::open(address, json!({})).pid());
    assert_ne!(one, other, "sessions have their own");
    gateway.stop();
}
