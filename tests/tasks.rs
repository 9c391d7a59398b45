//! Tasks of both eras through the shipped binary: each passes by era, leads to its upstream and belongs to its client.

#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/gateway.rs"]
mod gateway;

use std::{net::SocketAddr, sync::Arc, thread};

use exchange::{Exchange, Legacy, params};
use gateway::{Gateway, Home, Value, eventually, holds_for, json, ms};

const RELATED: &str = "io.modelcontextprotocol/related-task";

fn served(home: &Arc<Home>, args: &[&str], keys: &str) -> (Gateway, SocketAddr) {
    let args = [&["--tasks"], args].concat();
    Gateway::over_http(home, &home.provider("a", &args, keys))
}

fn begin(client: &Legacy, arguments: Value) -> String {
    let call = json!({"name": "a__task", "arguments": arguments, "task": {"ttl": 60_000}});
    let answer = client.request("tools/call", call);
    answer["result"]["task"]["taskId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn ids(client: &Legacy) -> Vec<String> {
    let list = client.request("tasks/list", json!({}));
    let tasks = list["result"]["tasks"].as_array().unwrap_or_else(|| panic!("{list}"));
    tasks.iter().map(|task| task["taskId"].as_str().unwrap().to_owned()).collect()
}

fn heard(client: &Legacy) -> Vec<String> {
    serde_json::from_str(&client.text("a__heard", json!({}))).unwrap()
}

#[test]
fn a_legacy_task_is_made_polled_waited_for_and_cancelled() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let client = Legacy::open(address, json!({}));
    let listed = client.request("tools/list", json!({}))["result"]["tools"].take();
    let tool = listed.as_array().unwrap().iter().find(|tool| tool["name"] == "a__task").unwrap().clone();
    assert_eq!(tool["execution"], json!({"taskSupport": "optional"}));
    let call = json!({"name": "a__task", "arguments": {"ms": 300, "nonce": 7}, "task": {"ttl": 60_000}});
    let made = client.request("tools/call", call)["result"].take();
    let id = made["task"]["taskId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("a__") && id.ends_with(".task-1"), "{id}");
    assert_eq!(
        (&made["task"]["status"], &made["task"]["ttl"], &made["x-more"]),
        (&json!("working"), &json!(60_000), &json!(1.5))
    );
    let state = client.request("tasks/get", json!({"taskId": id}))["result"].take();
    assert_eq!((&state["taskId"], &state["status"]), (&json!(id), &json!("working")));
    let result = client.request("tasks/result", json!({"taskId": id}))["result"].take();
    assert_eq!(result["content"][0]["text"], r#"{"nonce":7,"answer":null}"#);
    assert_eq!(result["_meta"][RELATED]["taskId"], json!(id));
    let second = begin(&client, json!({"ms": 60_000}));
    let cancelled = client.request("tasks/cancel", json!({"taskId": second}))["result"].take();
    assert_eq!((&cancelled["taskId"], &cancelled["status"]), (&json!(second), &json!("cancelled")));
    let third = begin(&client, json!({}));
    assert_eq!(ids(&client), [id, second, third], "every page");
    let named: Vec<String> = heard(&client).into_iter().filter(|line| line.starts_with("tasks/")).collect();
    assert_eq!(named, ["tasks/get task-1", "tasks/result task-1", "tasks/cancel task-2"], "its own ids upstream");
    let hello = client_hello(address);
    assert_eq!(hello["capabilities"]["tasks"], json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}));
    gateway.stop();
}

fn client_hello(address: SocketAddr) -> Value {
    let info = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    Exchange::send("POST", address, "", &body.to_string()).answer().1["result"].take()
}

#[test]
fn no_client_reaches_the_task_of_another() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let (one, other) = (Legacy::open(address, json!({})), Legacy::open(address, json!({})));
    let id = begin(&one, json!({"ms": 60_000}));
    for stolen in [id.clone(), "task-1".into(), "a__task-1".into(), format!("{id}0"), id.replacen("a__", "b__", 1)] {
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let answer = other.request(method, json!({"taskId": stolen}));
            assert_eq!(answer["error"]["code"], -32602, "{method} {stolen}: {answer}");
        }
    }
    assert_eq!(ids(&other), Vec::<String>::new());
    let mine = begin(&other, json!({"ms": 60_000}));
    assert_eq!((ids(&one), ids(&other)), (vec![id.clone()], vec![mine]));
    assert!(!heard(&one).iter().any(|line| line.starts_with("tasks/")), "none of it came to the upstream");
    // Nor does one of the other era.
    let get = params(json!({"taskId": id}), json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}));
    let (status, answer) = Exchange::start(address, "tasks/get", &get).answer();
    assert_eq!((status, &answer["error"]["code"]), (404, &json!(-32601)), "no provider of its era has tasks: {answer}");
    gateway.stop();
}

#[test]
fn what_is_told_and_asked_of_a_task_goes_to_its_client_though_others_have_calls_there() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    let can_be_asked = json!({"elicitation": {}});
    let (one, other) = (Legacy::open(address, can_be_asked.clone()), Legacy::open(address, can_be_asked));
    let (mut stream, mut others) = (one.listen(), other.listen());
    let busy = other.start_in_thread("a__sleep", json!({"ms": 3000}));
    let call =
        json!({"name": "a__task", "arguments": {"ms": 200, "ask": true}, "task": {}, "_meta": {"progressToken": "p"}});
    let made = one.request("tools/call", call)["result"].take();
    let id = made["task"]["taskId"].clone();
    let told = stream.event();
    assert_eq!((&told["method"], &told["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
    assert_eq!(told["params"]["_meta"][RELATED]["taskId"], id);
    let asked = stream.event();
    assert_eq!((&asked["method"], &asked["params"]["_meta"][RELATED]["taskId"]), (&json!("elicitation/create"), &id));
    let result = json!({"action": "accept", "content": {"n": 1}, "_meta": {RELATED: {"taskId": id}}});
    assert_eq!(one.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})).status, 202);
    let status = stream.event();
    assert_eq!(status["method"], "notifications/tasks/status");
    assert_eq!((&status["params"]["taskId"], &status["params"]["status"]), (&id, &json!("completed")));
    let done = one.request("tasks/result", json!({"taskId": id}))["result"].take();
    let text: Value = serde_json::from_str(done["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text["answer"]["_meta"][RELATED]["taskId"], "task-1", "the upstream reads its own id: {text}");
    busy.join().unwrap();
    // The other one has heard nothing of it.
    other.request("tools/call", json!({"name": "a__add_tool", "arguments": {"name": "x"}}));
    assert_eq!(others.event()["method"], "notifications/tools/list_changed");
    gateway.stop();
}

/// On stdio there is one stream for everything, and on HTTP one of each call upstream.
#[test]
fn a_client_on_stdio_hears_of_its_task_after_the_call_that_made_it() {
    let home = Home::new();
    home.put(&gateway::config(&home.provider("a", &["--tasks"], ""), gateway::UNWATCHED));
    let gateway = Gateway::spawn(&home);
    gateway.client.initialize(json!({"elicitation": {}}));
    let call =
        json!({"name": "a__task", "arguments": {"ms": 200, "ask": true}, "task": {}, "_meta": {"progressToken": 9}});
    let id = gateway.client.request("tools/call", call)["result"]["task"]["taskId"].take();
    let result = gateway.client.send("tasks/result", json!({"taskId": id}));
    let asked = gateway.client.wait_messages("elicitation/create", 1).remove(0);
    assert_eq!(asked["params"]["_meta"][RELATED]["taskId"], id);
    gateway.client.raw(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}).to_string());
    assert_eq!(result.wait()["result"]["_meta"][RELATED]["taskId"], id);
    let told = gateway.client.wait_messages("notifications/progress", 1).remove(0);
    assert_eq!((&told["params"]["progressToken"], &told["params"]["_meta"][RELATED]["taskId"]), (&json!(9), &id));
    assert_eq!(gateway.client.wait_messages("notifications/tasks/status", 1).remove(0)["params"]["taskId"], id);
    gateway.stop();
}

#[test]
fn a_task_that_runs_keeps_its_provider_and_needs_none_of_its_permits() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "idle_ttl_s: 1, max_concurrency: 1");
    let client = Legacy::open(address, json!({}));
    let id = begin(&client, json!({"ms": 2500}));
    let state = || client_state(address);
    holds_for("a running task is not idle", ms(1800), || state() == "ready");
    let waiting = client.start_in_thread_method("tasks/result", json!({"taskId": id}));
    let got = client.request("tasks/get", json!({"taskId": id}));
    assert_eq!(got["result"]["status"], "working", "{got}");
    assert!(client.text("a__pid", json!({})).parse::<u32>().is_ok(), "the one permit is free");
    assert!(waiting.join().unwrap()["result"]["content"].is_array());
    eventually("it is idle at last", ms(5000), || (state() == "cold").then_some(()));
    gateway.stop();
}

#[test]
fn a_task_whose_end_nobody_hears_of_keeps_no_provider() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "idle_ttl_s: 1");
    let client = Legacy::open(address, json!({}));
    begin(&client, json!({"ms": 300}));
    eventually("it is idle, though its client has no stream", ms(10_000), || {
        (client_state(address) == "cold").then_some(())
    });
    gateway.stop();
}

fn client_state(address: SocketAddr) -> String {
    let listed = gateway::HttpSession::open(address).call("hangar_list", json!({}));
    let all = &listed["result"]["structuredContent"]["providers"];
    all[0]["state"].as_str().unwrap_or_default().to_owned()
}

fn modern(parameters: Value) -> Value {
    params(parameters, json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}))
}

fn ask(address: SocketAddr, method: &str, parameters: Value) -> Value {
    let (status, answer) = Exchange::start(address, method, &modern(parameters)).answer();
    assert_eq!(status, 200, "{method}: {answer}");
    answer["result"].clone()
}

#[test]
fn a_modern_task_is_made_polled_answered_and_cancelled() {
    let home = Home::new();
    let (gateway, address) = served(&home, &["--era", "modern"], "");
    let made = ask(address, "tools/call", json!({"name": "a__task", "arguments": {"ask": true, "nonce": 3}}));
    assert_eq!(made["resultType"], "task", "{made}");
    let id = made["taskId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("a__"), "{id}");
    let polled = ask(address, "tasks/get", json!({"taskId": id}));
    assert_eq!(
        (&polled["taskId"], &polled["status"], &polled["resultType"]),
        (&json!(id), &json!("working"), &json!("complete"))
    );
    // Its status is told to whoever listens for it.
    let filter = json!({"notifications": {"taskIds": [id, "a__not.mine"]}});
    let mut listening = Exchange::start(address, "subscriptions/listen", &modern(filter));
    let granted = listening.event()["params"]["notifications"]["taskIds"].take();
    assert_eq!(granted, json!([id]), "one that was not given out is not granted");
    eventually("the upstream is listened to", ms(5000), || {
        let filters = ask(address, "tools/call", json!({"name": "a__listening"}))["content"][0]["text"].take();
        filters.as_str().unwrap().contains("task-1").then_some(())
    });
    let answer = json!({"q": {"action": "accept"}});
    assert_eq!(ask(address, "tasks/update", json!({"taskId": id, "inputResponses": answer}))["resultType"], "complete");
    let told = listening.event();
    assert_eq!((&told["method"], &told["params"]["taskId"]), (&json!("notifications/tasks"), &json!(id)), "{told}");
    assert_eq!(
        (&told["params"]["status"], &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]),
        (&json!("completed"), &json!(7))
    );
    let done = ask(address, "tasks/get", json!({"taskId": id}));
    assert_eq!(done["result"]["content"][0]["text"], r#"{"nonce":3,"answer":{"q":{"action":"accept"}}}"#);
    let second = ask(address, "tools/call", json!({"name": "a__task", "arguments": {"ms": 60_000}}))["taskId"].take();
    assert_eq!(ask(address, "tasks/cancel", json!({"taskId": second}))["resultType"], "complete");
    assert_eq!(ask(address, "tasks/get", json!({"taskId": second}))["status"], "cancelled");
    let hello = ask(address, "server/discover", json!({}));
    assert_eq!(hello["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"], json!({}));
    assert!(hello["capabilities"].get("tasks").is_none(), "{hello}");
    gateway.stop();
}

#[test]
fn a_modern_client_that_does_not_declare_tasks_gets_none_and_reaches_none() {
    let home = Home::new();
    let (gateway, address) = served(&home, &["--era", "modern"], "");
    let id = ask(address, "tools/call", json!({"name": "a__task", "arguments": {"ms": 60_000}}))["taskId"].take();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        for taskid in [&id, &json!("nobody")] {
            let (status, answer) =
                Exchange::start(address, method, &params(json!({"taskId": taskid}), json!({}))).answer();
            assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32021)), "{method}: {answer}");
            let required = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
            assert_eq!(answer["error"]["data"]["requiredCapabilities"], required);
        }
    }
    let listen = params(json!({"notifications": {"taskIds": [id]}}), json!({}));
    let (status, answer) = Exchange::start(address, "subscriptions/listen", &listen).answer();
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32021)), "{answer}");
    let (status, answer) = Exchange::start(address, "tasks/get", &modern(json!({"taskId": "nobody"}))).answer();
    assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32602)), "{answer}");
    for gone in ["tasks/list", "tasks/result"] {
        let (status, _) = Exchange::start(address, gone, &modern(json!({"taskId": id}))).answer();
        assert_eq!(status, 404, "{gone}");
    }
    gateway.stop();
}

#[test]
fn tasks_of_one_era_are_not_offered_to_the_other() {
    let home = Home::new();
    let (gateway, address) = served(&home, &[], "");
    // A modern client that asks as of old: the upstream does not hear it, and answers at once.
    let made = ask(address, "tools/call", json!({"name": "a__task", "task": {"ttl": 1}, "arguments": {}}));
    assert_eq!((&made["content"][0]["text"], &made["resultType"]), (&json!("false"), &json!("complete")));
    gateway.stop();
    let home = Home::new();
    let (gateway, address) = served(&home, &["--era", "modern"], "");
    // A legacy client that declares the extension is not spoken of as one that has it.
    let client = Legacy::open(address, json!({"extensions": {"io.modelcontextprotocol/tasks": {}, "x/y": {"n": 1}}}));
    let answered = client.request("tools/call", json!({"name": "a__task", "arguments": {}}));
    assert!(answered["result"]["content"].is_array(), "{answered}");
    let meta = client.text("a__meta", json!({}));
    assert!(meta.contains(r#""extensions":{"x/y":{"n":1}}"#), "{meta}");
    assert_eq!(client.request("tasks/list", json!({}))["error"]["code"], -32601);
    gateway.stop();
}

#[test]
fn the_id_of_a_modern_task_outlives_the_gateway() {
    let home = Home::new();
    let (gateway, address) = served(&home, &["--era", "modern"], "");
    let id = ask(address, "tools/call", json!({"name": "a__task", "arguments": {"ms": 60_000}}))["taskId"].take();
    gateway.stop();
    let (gateway, address) = served(&home, &["--era", "modern"], "");
    let (_, answer) = Exchange::start(address, "tasks/get", &modern(json!({"taskId": id}))).answer();
    assert_eq!(
        answer["error"]["message"], "there is no such task",
        "the upstream was asked, and knows no more: {answer}"
    );
    gateway.stop();
}

impl Legacy {
    fn start_in_thread(&self, tool: &str, arguments: Value) -> thread::JoinHandle<Value> {
        self.start_in_thread_method("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    fn start_in_thread_method(&self, method: &str, params: Value) -> thread::JoinHandle<Value> {
        let (client, method) = (self.clone(), method.to_owned());
        thread::spawn(move || client.request(&method, params))
    }
}
