//! What passes between a client and its one upstream though the gateway has no part in it: questions and what becomes of them,
//! methods and notifications of a vendor, every field that the gateway does not know.

#[path = "support/gateway.rs"]
mod gateway;

use std::sync::Arc;

use gateway::{Gateway, Home, UNWATCHED, Value, config, eventually, json, ms};

/// A gateway on stdio whose client can be asked for everything.
fn started(home: &Arc<Home>, args: &[&str]) -> Gateway {
    home.put(&config(&home.provider("a", args, ""), UNWATCHED));
    let gateway = Gateway::spawn(home);
    gateway.client.initialize(json!({"sampling": {}, "elicitation": {}, "roots": {}}));
    gateway
}

fn question(gateway: &Gateway, method: &str) -> Value {
    gateway.client.wait_messages(method, 1).remove(0)
}

fn heard(gateway: &Gateway) -> Vec<String> {
    serde_json::from_str(&gateway.client.text("a__heard", json!({}))).unwrap()
}

#[test]
fn what_a_client_tells_of_its_progress_reaches_the_upstream_that_asked_under_its_own_token() {
    let home = Home::new();
    let gateway = started(&home, &[]);
    let params = json!({"messages": [], "maxTokens": 1, "_meta": {"progressToken": "mine", "k": 1}});
    let asking = json!({"method": "sampling/createMessage", "params": params});
    let (first, second) = (gateway.client.start_tool("a__ask", asking.clone()), gateway.client.start_tool("a__ask", asking));
    let questions = gateway.client.wait_messages("sampling/createMessage", 2);
    let tokens: Vec<_> = questions.iter().map(|q| q["params"]["_meta"]["progressToken"].clone()).collect();
    assert_ne!(tokens[0], tokens[1], "the same token of two questions is two tokens here");
    assert_eq!(questions[0]["params"]["_meta"]["k"], 1);
    gateway.client.raw(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":1.50,"x":0.10}}}}"#,
        tokens[0]
    ));
    gateway.client.notify("notifications/progress", json!({"progressToken": 999_999, "progress": 1}));
    let told = eventually("progress is told", ms(5000), || {
        heard(&gateway).into_iter().find(|line| line.starts_with("notifications/progress"))
    });
    assert_eq!(told, r#"notifications/progress {"progressToken":"mine","progress":1.50,"x":0.10}"#);
    for question in &questions {
        gateway.client.raw(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"model": "m"}}).to_string());
    }
    for call in [first, second] {
        assert_eq!(call.wait()["result"]["content"][0]["text"], r#"{"model":"m"}"#);
    }
    assert_eq!(heard(&gateway).iter().filter(|line| line.starts_with("notifications/progress")).count(), 1);
    gateway.stop();
}

#[test]
fn a_question_that_the_upstream_takes_back_is_taken_back_from_the_client() {
    let home = Home::new();
    let gateway = started(&home, &[]);
    let call = gateway.client.start_tool("a__ask_then_cancel", json!({"method": "elicitation/create", "params": {"message": "?"}}));
    let asked = question(&gateway, "elicitation/create");
    let cancelled = question(&gateway, "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], asked["id"]);
    assert_eq!(call.wait()["result"]["content"][0]["text"], "taken back");
    // Too late, and to nobody.
    gateway.client.raw(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}).to_string());
    assert!(gateway.client.text("a__pid", json!({})).parse::<u32>().is_ok());
    gateway.stop();
}

#[test]
fn a_vendors_request_of_the_upstream_goes_to_the_one_client_that_it_can_mean() {
    let home = Home::new();
    let gateway = started(&home, &[]);
    let call = gateway.client.start_tool("a__ask", json!({"method": "vendor/choose", "params": {"of": [1.50, 2]}}));
    let asked = question(&gateway, "vendor/choose");
    assert_eq!(asked["params"], json!({"of": [1.50, 2]}));
    gateway.client.raw(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"n":1.50}}}}"#, asked["id"]));
    assert_eq!(call.wait()["result"]["content"][0]["text"], r#"{"n":1.50}"#);
    gateway.stop();
}
