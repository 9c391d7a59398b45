//! Upstreams of revision 2026-07-28 over HTTP: headers that repeat the body, no session, exchanges that are cancelled by being
//! dropped; through the shipped binary.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/remote_process.rs"]
mod remote_process;

use std::sync::Arc;

use gateway::{Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json};
use remote_process::Remote;

const VERSION: &str = "2026-07-28";

fn start(home: &Arc<Home>, remote: &Remote, keys: &str) -> Gateway {
    home.put(&config(&remote.provider("r", keys), UNWATCHED));
    let gateway = Gateway::spawn(home);
    gateway.client.initialize(json!({"elicitation": {}}));
    gateway
}

fn stats(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.client.text("r__stats", json!({}))).unwrap()
}

#[test]
fn each_era_is_found_and_spoken() {
    for (era, pin, spoken) in [
        ("modern", "auto", VERSION),
        ("modern", "2026-07-28", VERSION),
        ("both", "auto", VERSION),
        ("both", "legacy", "2025-11-25"),
        ("legacy", "auto", "2025-11-25"),
    ] {
        let (home, remote) = (Home::new(), Remote::start(&["--era", era]));
        let gateway = start(&home, &remote, &format!(", protocol: \"{pin}\""));
        assert_eq!(gateway.client.text("r__echo", json!({"text": "hi"})), "hi", "{era} {pin}");
        let details = gateway.client.structured("hangar_details", json!({"provider": "r"}));
        assert_eq!(details["protocol_version"], spoken, "{era} {pin}");
        let stats = stats(&gateway);
        assert_eq!(stats["mismatches"], Value::Null, "{era} {pin}: {stats}");
        let headers = &stats["headers"];
        if spoken == VERSION {
            assert_eq!(
                (&headers["mcp-protocol-version"], &headers["mcp-method"]),
                (&json!(VERSION), &json!("tools/call"))
            );
            assert_eq!(headers["mcp-name"], "stats", "as the upstream calls it");
            assert_eq!((&headers["mcp-session-id"], &stats["gets"]), (&Value::Null, &Value::Null), "{stats}");
        } else {
            assert_eq!((&headers["mcp-method"], &headers["mcp-name"]), (&Value::Null, &Value::Null));
            assert!(headers["mcp-session-id"].is_string(), "{stats}");
        }
        gateway.stop();
    }
}

#[test]
fn arguments_that_a_schema_marks_are_repeated_in_headers() {
    let (home, remote) = (Home::new(), Remote::start(&["--era", "modern"]));
    // What is configured does not pass for an argument.
    let gateway = start(&home, &remote, ", headers: {Mcp-Param-Region: configured}");
    for arguments in [
        json!({"region": "us-west1", "n": 42, "deep": {"flag": true}}),
        json!({"region": "über", "n": -7}),
        json!({"region": " outer "}),
        json!({"region": "two\nlines"}),
        json!({"region": "=?base64?eA==?="}),
        json!({"region": ""}),
        json!({"region": null, "deep": {}}),
        json!({}),
    ] {
        gateway.client.tool("r__marked", arguments);
    }
    // Through the gateway's own tool, and without a listing before.
    let calls = json!([{"provider": "r", "tool": "marked", "arguments": {"region": "x"}}]);
    let answer = gateway.client.tool("hangar_call", json!({"calls": calls}));
    assert!(!answer.to_string().contains("-32020"), "{answer}");
    assert_eq!(stats(&gateway)["mismatches"], Value::Null);
    let tools = gateway.client.tools();
    assert!(tools.contains(&"r__marked".to_owned()) && !tools.contains(&"r__bad".to_owned()), "{tools:?}");
    gateway.stop();
}

/// `Mcp-Name` of a request about a task is the task, by the upstream's own name for it.
#[test]
fn a_task_is_named_in_its_header_as_the_upstream_calls_it() {
    let (home, remote) = (Home::new(), Remote::start(&["--era", "modern"]));
    let gateway = start(&home, &remote, "");
    let declared = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    });
    let made = gateway.client.request("tools/call", json!({"name": "r__task", "_meta": declared}))["result"].take();
    let id = made["taskId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    assert!(id.starts_with("r__") && id.ends_with(".t/1"), "{id}");
    let polled = gateway.client.request("tasks/get", json!({"taskId": id, "_meta": declared}))["result"].take();
    assert_eq!((&polled["taskId"], &polled["status"]), (&json!(id), &json!("working")), "{polled}");
    gateway.stop();
}

#[test]
fn names_and_codes_are_those_of_the_hop() {
    let (home, remote) = (Home::new(), Remote::start(&["--era", "modern"]));
    let gateway = start(&home, &remote, "");
    gateway.client.list("resources/list");
    let read = gateway.client.request("resources/read", json!({"uri": "hangar://r/test://über"}));
    assert_eq!(read["result"]["contents"][0]["text"], "read", "{read}");
    let missing = gateway.client.request("resources/read", json!({"uri": "hangar://r/test://nowhere"}));
    assert_eq!(missing["error"]["code"], -32002, "{missing}");
    // A status of its own is no failure of the transport.
    let unknown = gateway.client.request("prompts/get", json!({"name": "r__none"}));
    assert_eq!((&unknown["error"]["code"], &unknown["error"]["message"]), (&json!(-32601), &json!("method not found")));
    gateway.stop();
}

#[test]
fn closing_the_stream_is_what_cancels() {
    let (home, remote) = (Home::new(), Remote::start(&["--era", "modern"]));
    let gateway = start(&home, &remote, "");
    let call = gateway.client.start_tool("r__hang", json!({}));
    eventually("it hangs", SOON, || (stats(&gateway)["hanging"] == 1).then_some(()));
    gateway.client.notify("notifications/cancelled", json!({"requestId": call.id}));
    eventually("it was dropped", SOON, || (stats(&gateway)["dropped"] == 1).then_some(()));
    let stats = stats(&gateway);
    assert_eq!(stats["method notifications/cancelled"], Value::Null, "{stats}");
    gateway.stop();
}

#[test]
fn a_question_is_put_to_the_legacy_client_and_answered_by_a_second_post() {
    let (home, remote) = (Home::new(), Remote::start(&["--era", "modern"]));
    let gateway = start(&home, &remote, "");
    let call = gateway.client.start_tool("r__elicit", json!({}));
    let request = gateway.client.wait_messages("elicitation/create", 1)[0].clone();
    let result = json!({"action": "accept", "content": {"n": 1}});
    gateway.client.raw(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string());
    let answer = call.wait();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json!({"q": result}));
    gateway.stop();
}

#[test]
fn the_last_words_of_an_earlier_listen_stream_are_heard() {
    let (home, remote) = (Home::new(), Remote::start(&["--era", "modern"]));
    let gateway = start(&home, &remote, "");
    gateway.client.tools();
    let subscribe = |uri: &str| {
        let answer = gateway.client.request("resources/subscribe", json!({"uri": uri}));
        assert_eq!(answer["result"], json!({}), "{answer}");
    };
    subscribe("hangar://r/test://über");
    gateway.client.tool("r__last_words", json!({}));
    subscribe("hangar://r/test://other");
    let updates = gateway.client.wait_messages("notifications/resources/updated", 1);
    assert_eq!(updates[0]["params"], json!({"uri": "hangar://r/test://über"}));
    gateway.stop();
}

#[test]
fn one_listen_stream_is_kept_open() {
    let (home, remote) = (Home::new(), Remote::start(&["--era", "modern"]));
    let gateway = start(&home, &remote, "");
    gateway.client.tools();
    let listening = || serde_json::from_str::<Value>(&gateway.client.text("r__listening", json!({}))).unwrap();
    let kinds = json!({"toolsListChanged": true, "resourcesListChanged": true});
    eventually("it is listened to", SOON, || (listening() == json!([kinds])).then_some(()));
    let subscribed = gateway.client.request("resources/subscribe", json!({"uri": "hangar://r/test://über"}));
    assert_eq!(subscribed["result"], json!({}), "{subscribed}");
    let everything =
        json!({"toolsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["test://über"]});
    eventually("the earlier one is closed", SOON, || (listening() == json!([everything])).then_some(()));
    gateway.client.text("r__change", json!({}));
    gateway.client.wait_messages("notifications/resources/updated", 1);
    gateway.client.tool("r__end_listening", json!({}));
    eventually("it is listened to again", SOON, || (listening() == json!([everything])).then_some(()));
    gateway.client.text("r__change", json!({}));
    let updates = gateway.client.wait_messages("notifications/resources/updated", 2);
    assert_eq!(updates[1]["params"], json!({"uri": "hangar://r/test://über"}));
    gateway.stop();
}
