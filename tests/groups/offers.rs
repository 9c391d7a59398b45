//! What clients see of a group, and the other doors to it.

use crate::{gateway::HttpSession, rig::*};

#[test]
fn a_group_offers_what_its_members_offer_together() {
    let home = Home::new();
    let providers =
        members(&home, &[("a", &["--tools", "only_a"], "tools: {deny: [pid]}"), ("b", &["--tools", "only_b"], "")]);
    let gateway = Gateway::start(&home, &(providers + &workers("members: [{id: b}, {id: a}]")));
    let tools = gateway.client.tools();
    for name in ["workers__echo", "workers__only_a", "workers__only_b", "workers__pid", "a__echo", "b__echo"] {
        assert_eq!(tools.iter().filter(|tool| *tool == name).count(), 1, "{name}: {tools:?}");
    }
    assert_eq!(gateway.client.structured("hangar_status", json!({}))["collisions"], json!([]));
    for _ in 0..3 {
        assert!(gateway.client.text("workers__only_a", json!({})).starts_with("only_a"));
        assert_eq!(
            gateway.client.text("workers__pid", json!({})),
            gateway.client.text("b__pid", json!({})),
            "a denies it"
        );
    }
    let own = gateway.client.structured("hangar_tools", json!({"provider": "workers"}));
    let own: Vec<_> = own["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(own.contains(&"only_a") && own.contains(&"only_b"), "{own:?}");
    let unknown = error(&gateway, "no_such_tool", json!({}));
    assert_eq!(unknown["code"], -32602, "{unknown}");
    let details = gateway.client.tool("hangar_details", json!({"provider": "workers"}));
    assert!(details["structuredContent"]["message"].as_str().unwrap().contains("it is a group"), "{details}");
    gateway.stop();
}

#[test]
fn hidden_members_are_not_listed_but_there() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b", "c"], "hide_members: true, members: [{id: a}, {id: b}]");
    let tools = gateway.client.tools();
    assert!(!tools.iter().any(|name| name.starts_with("a__") || name.starts_with("b__")), "{tools:?}");
    assert!(tools.contains(&"workers__echo".to_owned()) && tools.contains(&"c__echo".to_owned()));
    let found = gateway.client.structured("hangar_search_tools", json!({"query": "echo"}));
    let names: Vec<_> = found["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"workers__echo") && names.contains(&"c__echo"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("a__") || name.starts_with("b__")), "{names:?}");
    let prompts = gateway.client.list("prompts/list").to_string();
    assert!(prompts.contains("a__") && !prompts.contains("workers__"), "a group stands for tools: {prompts}");
    assert_eq!(gateway.client.text("a__echo", json!({"n": 1})), "{\"n\":1}");
    gateway.stop();
}

#[test]
fn without_prefixes_the_plain_name_is_the_groups() {
    let home = Home::new();
    let settings = "config_reload: {enabled: false}\nserver: {tool_prefix: never}\n";
    let gateway = Gateway::with_settings(&home, &yaml(&home, &["a", "b"], "members: [{id: a}, {id: b}]"), settings);
    let tools = gateway.client.tools();
    for name in ["echo", "a__echo", "b__echo"] {
        assert!(tools.contains(&name.to_owned()), "{name}: {tools:?}");
    }
    let who = || named(&gateway.client.text("args", json!({})));
    assert_eq!([who(), who(), who()].concat(), "aba");
    let collisions = gateway.client.structured("hangar_status", json!({}))["collisions"].take();
    assert!(collisions.as_array().unwrap().iter().all(|c| c["list"] != "tools"), "{collisions}");
    gateway.stop();
}

#[test]
fn a_group_is_called_by_its_name_as_a_provider_is() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], "members: [{id: a}, {id: b}]");
    let call = |tool: &str| json!({"provider": "workers", "tool": tool});
    let calls = json!([call("args"), call("args"), call("args"), call("args")]);
    let answer = gateway.client.structured("hangar_call", json!({"calls": calls, "max_concurrency": 1}));
    let results = answer["results"].as_array().unwrap();
    let names: Vec<_> = results.iter().map(|r| named(r["result"]["content"][0]["text"].as_str().unwrap())).collect();
    assert_eq!(names.concat(), "abab");
    let wrong = gateway.client.tool("hangar_call", json!({"calls": [{"provider": "worker", "tool": "echo"}]}));
    assert!(
        wrong.to_string().contains("did you mean \\\"workers\\\"") || wrong.to_string().contains("workers"),
        "{wrong}"
    );
    gateway.stop();
}

#[test]
fn long_names_of_a_group_lead_to_it() {
    let home = Home::new();
    let long = "x".repeat(70);
    let providers = members(&home, &[("a", &["--tools", &long], "")]);
    let gateway = Gateway::start(&home, &(providers + &workers("members: [{id: a}]")));
    let tools = gateway.client.tools();
    let cut = tools.iter().find(|name| name.starts_with("workers__xx")).unwrap().clone();
    assert_eq!(cut.len(), 64);
    assert!(gateway.client.text(&cut, json!({})).starts_with(&long));
    gateway.stop();
    // Another gateway, whose catalogues are not known yet.
    std::fs::remove_dir_all(home.path("state/hangar/catalogues")).unwrap();
    let gateway = Gateway::again(&home);
    assert!(gateway.client.text(&cut, json!({})).starts_with(&long));
    gateway.stop();
}

#[test]
fn http_tells_of_groups_and_calls_them() {
    let home = Home::new();
    let broken: &[&str] = &["--handshake", "exit:7"];
    let providers = members(&home, &[("a", &[], ""), ("b", broken, "")]);
    let (gateway, address) = Gateway::over_http(&home, &(providers + &workers("members: [{id: b}, {id: a}]")));
    let mut http = HttpSession::open(address);
    let (status, body) = http.post("/api/providers/workers/call", &json!({"tool": "echo", "arguments": {"n": 1.0}}));
    assert!(status == 200 && body.contains("{\\\"n\\\":1.0}"), "{status} {body}");
    let get = |path: &str| -> (u16, String) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text[9..12].parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    };
    let json_of = |path: &str| -> Value { serde_json::from_str(&get(path).1).unwrap() };
    let tools = json_of("/api/providers/workers/tools");
    assert_eq!((&tools["provider"], &tools["known"]), (&json!("workers"), &json!(true)));
    assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "echo"), "{tools}");
    let list = json_of("/api/groups");
    assert_eq!((&list["count"], &list["groups"][0]["group"]), (&json!(1), &json!("workers")), "{list}");
    assert_eq!(json_of("/api/groups/workers")["calls"], 1);
    assert_eq!(get("/api/groups/nobody").0, 404);
    assert_eq!(json_of("/api/config")["groups"]["workers"]["strategy"], "round_robin");
    assert_eq!(json_of("/api/status")["groups"], 1);
    let (status, body) = http.post("/api/providers/workers/start", &json!({}));
    assert!(status == 200 && body.contains("\"not_started\":[{\"id\":\"b\""), "{status} {body}");
    let (status, body) = http.post("/api/groups/workers/rebalance", &json!({}));
    assert!(status == 200 && body.contains("still_out"), "{status} {body}");
    let metrics = get("/metrics").1;
    for line in [
        "hangar_group_calls_total{group=\"workers\",member=\"a\",outcome=\"answered\"} 1",
        "hangar_group_calls_total{group=\"workers\",member=\"b\",outcome=\"passed_on\"} 1",
        "hangar_group_members{group=\"workers\",health=\"healthy\"} 1",
        "hangar_calls_total{provider=\"a\",tool=\"echo\",outcome=\"success\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    drop(http);
    gateway.stop();
}
