//! How a request is answered: by JSON, by a stream, or not at all.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::rig::{Running, call, eventually, provider, start_gateway, with_one_provider};

const JSON: &str = "Content-Type: application/json";

/// `tools/call` of the progress tool that asks for progress.
fn progress(id: u64, n: u64) -> Value {
    let mut call = call(id, "t__progress", &json!({"n": n, "ms": 10}));
    call["params"]["_meta"] = json!({"progressToken": "mine"});
    call
}

#[test]
fn an_answer_that_comes_first_is_json_with_the_clients_own_bytes() {
    let gateway = with_one_provider();
    let session = format!("Mcp-Session-Id: {}", gateway.session("2025-11-25"));
    let arguments = r#"{"z":1.10,"a":12345678901234567890123,"e":"\u00e9"}"#;
    let id = r#""str\u0069ng""#;
    let body = format!(
        r#"{{ "jsonrpc":"2.0", "id":{id}, "method":"tools/call", "params":{{"name":"t__structured","arguments":{arguments}}} }}"#
    );
    let headers = [JSON, crate::rig::BOTH, session.as_str()];
    let answer = gateway.ask("POST", "/mcp", &headers, body.as_bytes());
    assert!(answer.status == 200 && answer.is_json(), "{answer:?}");
    assert!(answer.text().contains(&format!("\"structuredContent\":{arguments}")), "{}", answer.text());
    assert!(answer.text().contains(&format!("\"id\":{id}")), "{}", answer.text());
}

#[test]
fn a_message_of_the_call_makes_it_a_stream_in_order() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    let answer = gateway.mcp(Some(&session), &progress(5, 3));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    let events = answer.events();
    let steps: Vec<_> = events[..3].iter().map(|event| event["params"]["progress"].as_u64()).collect();
    assert_eq!(steps, [Some(1), Some(2), Some(3)]);
    assert_eq!(events[0]["params"]["progressToken"], "mine");
    assert_eq!((events.len(), &events[3]["id"]), (4, &json!(5)), "{events:?}");
}

#[test]
fn the_client_chooses_among_the_kinds_of_answer() {
    let gateway = with_one_provider();
    let session = format!("Mcp-Session-Id: {}", gateway.session("2025-11-25"));
    let ask = |accept: &str, message: &Value| {
        gateway.ask("POST", "/mcp", &[JSON, &session, accept], message.to_string().as_bytes())
    };
    let events_only = ask("Accept: text/event-stream", &call(1, "t__pid", &json!({}))).events();
    assert_eq!((events_only.len(), &events_only[0]["id"]), (1, &json!(1)));
    for accept in ["Accept: application/json", "Accept: */*"] {
        let plain = ask(accept, &progress(2, 3));
        assert!(plain.is_json(), "{plain:?}");
        assert_eq!(plain.json()["result"]["content"][0]["text"], "done");
        // Nobody could answer it, so the upstream is told and need not wait.
        let asked = ask(accept, &call(3, "t__elicit", &json!({})));
        assert!(asked.json().get("result").is_some(), "{}", asked.text());
    }
}

#[test]
fn a_long_call_gets_a_sign_of_life() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    let mut conn = gateway.connect();
    conn.mcp(&gateway.address, Some(&session), &call(1, "t__sleep", &json!({"ms": 11_000})));
    let head = conn.head();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(conn.chunk().as_deref(), Some(b": keep-alive\n\n".as_slice()));
    assert_eq!(conn.events().expect("the answer")[0]["id"], 1);
    assert!(conn.chunk().is_none(), "and nothing after it");
}

#[test]
fn an_upstream_may_ask_the_client_on_the_calls_own_stream() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    let mut conn = gateway.connect();
    conn.mcp(&gateway.address, Some(&session), &call(1, "t__elicit", &json!({})));
    assert_eq!(conn.head().header("content-type"), Some("text/event-stream"));
    let asked = conn.events().expect("a request").remove(0);
    assert_eq!(asked["method"], "elicitation/create");
    let result = json!({"action": "accept", "content": {"name": "Ada"}});
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
    let accepted = gateway.mcp(Some(&session), &reply);
    assert_eq!((accepted.status, accepted.body.len()), (202, 0));
    let answer = conn.events().expect("the answer").remove(0);
    assert!(answer["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("Ada")), "{answer}");
}

/// Raw ids of the calls that the provider was told to forget.
fn cancelled(gateway: &Running, session: &str) -> Vec<u64> {
    let answer = gateway.mcp(Some(session), &call(99, "t__cancelled", &json!({}))).json();
    let list = answer["result"]["content"][0]["text"].as_str().map(str::to_owned).expect("a list");
    serde_json::from_str(&list).expect("numbers")
}

fn in_flight(gateway: &Running) -> u64 {
    gateway.get("/api/providers/t").json()["calls_in_flight"].as_u64().expect("a number")
}

#[test]
fn a_client_that_goes_away_cancels_its_call_upstream() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    // Before the answer has begun...
    let mut waiting = gateway.connect();
    waiting.mcp(&gateway.address, Some(&session), &call(1, "t__sleep", &json!({"ms": 60_000})));
    eventually("the call runs", || (in_flight(&gateway) == 1).then_some(()));
    drop(waiting);
    eventually("the first is cancelled", || (cancelled(&gateway, &session).len() == 1).then_some(()));
    // ...and in the middle of its stream.
    let mut streaming = gateway.connect();
    streaming.mcp(&gateway.address, Some(&session), &progress(2, 6_000));
    assert!(streaming.head().status == 200 && streaming.events().is_some());
    drop(streaming);
    eventually("the second is cancelled", || (cancelled(&gateway, &session).len() == 2).then_some(()));
    assert_eq!(in_flight(&gateway), 0);
}

#[test]
fn a_cancelled_call_gets_no_answer() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    let mut conn = gateway.connect();
    conn.mcp(&gateway.address, Some(&session), &call(1, "t__sleep", &json!({"ms": 60_000})));
    eventually("the call runs", || (in_flight(&gateway) == 1).then_some(()));
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(gateway.mcp(Some(&session), &cancel).status, 202);
    let answer = conn.answer();
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{answer:?}");
    eventually("told upstream", || (cancelled(&gateway, &session).len() == 1).then_some(()));
}

#[test]
fn many_calls_on_one_connection_and_many_connections() {
    let gateway = start_gateway(&format!("providers:\n{}{}", provider("t", "--name, a"), provider("u", "--name, b")));
    let session = gateway.session("2025-11-25");
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (gateway, session) = (&gateway, &session);
            scope.spawn(move || {
                let mut conn = gateway.connect();
                for round in 0..100 {
                    let id = thread * 1000 + round;
                    let tool = if round % 2 == 0 { "t__echo" } else { "u__echo" };
                    conn.mcp(&gateway.address, Some(session), &call(id, tool, &json!({"id": id})));
                    let answer = conn.answer().json();
                    assert_eq!(answer["id"], id, "{answer}");
                    assert_eq!(answer["result"]["content"][0]["text"], format!("{{\"id\":{id}}}"));
                }
            });
        }
    });
    assert_eq!(gateway.get("/api/providers/t").json()["starts"], 1);
}

#[test]
fn a_call_that_the_client_does_not_read_ends_in_its_time() {
    let yaml = format!("providers:\n{}    call_timeout_s: 2\n    max_call_time_s: 2\n", provider("t", "--name, a"));
    let gateway = start_gateway(&yaml);
    let session = gateway.session("2025-11-25");
    let mut conn = gateway.connect();
    conn.mcp(&gateway.address, Some(&session), &progress(1, 6_000));
    eventually("the call runs", || (in_flight(&gateway) == 1).then_some(()));
    eventually("the call is over", || (in_flight(&gateway) == 0).then_some(()));
    let answer = conn.answer().events();
    assert_eq!(answer.last().map(|last| &last["error"]["data"]["error"]), Some(&json!("timeout")));
    // The connection serves on.
    conn.limit(Duration::from_secs(5));
    conn.mcp(&gateway.address, Some(&session), &call(2, "t__pid", &json!({})));
    assert_eq!(conn.answer().json()["id"], 2);
}
