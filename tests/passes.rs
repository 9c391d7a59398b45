//! What passes between a client and its one upstream though the gateway has no part in it: questions and what becomes of them,
//! methods and notifications of a vendor, every field that the gateway does not know.

#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/gateway.rs"]
mod gateway;

use std::sync::Arc;

use exchange::{Exchange, params};
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
    let (first, second) =
        (gateway.client.start_tool("a__ask", asking.clone()), gateway.client.start_tool("a__ask", asking));
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
    let call = gateway
        .client
        .start_tool("a__ask_then_cancel", json!({"method": "elicitation/create", "params": {"message": "?"}}));
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

const ERAS: [&[&str]; 2] = [&[], &["--era", "modern"]];

#[test]
fn a_vendors_methods_and_notifications_reach_the_only_provider_that_there_is() {
    for era in ERAS {
        let home = Home::new();
        let gateway = started(&home, era);
        // Legacy.
        gateway.client.raw(r#"{"jsonrpc":"2.0","id":1,"method":"vendor/echo","params":{"b":1.50,"a":[ ]}}"#);
        let answer = gateway.client.wait_line("the answer", |line| line.contains(r#""id":1,"#));
        assert!(answer.contains(r#""method":"vendor/echo""#) && answer.contains(r#""b":1.50,"a":[ ]"#), "{answer}");
        gateway.client.raw(r#"{"jsonrpc":"2.0","method":"vendor/said","params":{"b":1.50}}"#);
        eventually("the notification came", ms(5000), || {
            heard(&gateway).contains(&r#"vendor/said {"b":1.50}"#.to_owned()).then_some(())
        });
        assert_eq!(gateway.client.request("nobody/knows", json!({}))["error"]["code"], -32601);
        assert_eq!(gateway.client.request("sampling/createMessage", json!({}))["error"]["code"], -32601);
        // Modern, on the same stream.
        let answer = gateway.client.request("vendor/echo", params(json!({"c": 1}), json!({})));
        assert_eq!(
            (&answer["result"]["params"]["c"], &answer["result"]["resultType"]),
            (&json!(1), &json!("complete"))
        );
        gateway.stop();
    }
}

#[test]
fn with_two_providers_nobody_guesses_whose_method_it_is() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &[home.provider("a", &[], ""), home.provider("b", &[], "")].concat());
    let answer = gateway.client.request("vendor/echo", json!({}));
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("vendor/echo"), "{answer}");
    assert_eq!((home.start_count("a"), home.start_count("b")), (0, 0), "nobody was started for it");
    gateway.stop();
}

#[test]
fn a_modern_client_gets_404_for_what_nobody_knows_and_a_vendors_answer_otherwise() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let ask = |method: &str| Exchange::start(address, method, &params(json!({"k": 1}), json!({}))).answer();
    let (status, answer) = ask("vendor/echo");
    assert_eq!((status, &answer["result"]["params"]["k"]), (200, &json!(1)), "{answer}");
    assert_eq!(
        answer["result"]["params"].get("_meta"),
        Some(&json!({})),
        "a legacy upstream does not hear the envelope"
    );
    for unknown in ["nobody/knows", "ping", "tasks/list", "tasks/result", "logging/setLevel", "sampling/createMessage"]
    {
        let (status, answer) = ask(unknown);
        assert_eq!((status, &answer["error"]["code"]), (404, &json!(-32601)), "{unknown}: {answer}");
    }
    gateway.stop();
}

#[test]
fn a_legacy_upstream_that_needs_what_a_modern_request_does_not_declare_ends_it_with_the_code_for_that() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    for (tool, has, lacks) in [
        ("a__sample", json!({}), "sampling"),
        ("a__elicit", json!({"sampling": {}}), "elicitation"),
        ("a__roots", json!({"elicitation": {}}), "roots"),
    ] {
        let call = params(json!({"name": tool, "arguments": {}}), has);
        let (status, answer) = Exchange::start(address, "tools/call", &call).answer();
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32021)), "{answer}");
        assert_eq!(answer["error"]["data"]["requiredCapabilities"], json!({lacks: {}}), "{answer}");
        assert_eq!(answer["error"]["data"]["provider"], "a");
    }
    // The upstream was told, and lives.
    let call = params(json!({"name": "a__cancelled", "arguments": {}}), json!({}));
    let (_, answer) = Exchange::start(address, "tools/call", &call).answer();
    let cancelled: Vec<u64> = serde_json::from_str(answer["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(cancelled.len(), 3, "{answer}");
    gateway.stop();
}

/// A modern upstream refuses for itself, and its words pass.
#[test]
fn a_modern_upstreams_refusal_for_lack_of_a_capability_passes() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &["--era", "modern"], ""));
    let call = params(json!({"name": "a__sample", "arguments": {}}), json!({}));
    let (status, answer) = Exchange::start(address, "tools/call", &call).answer();
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32021)), "{answer}");
    assert_eq!(answer["error"]["message"], "the client cannot be asked");
    gateway.stop();
}

#[test]
fn a_cursor_that_the_gateway_has_not_given_is_refused() {
    let home = Home::new();
    let gateway = started(&home, &["--page-size", "3"]);
    for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
        for envelope in [json!({}), params(json!({}), json!({}))] {
            let mut with = envelope.clone();
            with["cursor"] = json!("no cursor of ours");
            assert_eq!(gateway.client.request(method, with)["error"]["code"], -32602, "{method}");
            let whole = gateway.client.request(method, envelope);
            assert!(whole["result"].get("nextCursor").is_none(), "{method}: the upstream's pages are one here");
        }
    }
    assert!(gateway.client.tools().iter().filter(|name| name.starts_with("a__")).count() > 20);
    gateway.stop();
}
