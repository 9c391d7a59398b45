//! What is taken on stdio, and of any client.

use std::time::Instant;

use crate::gateway::*;

fn start(home: &std::sync::Arc<Home>, limits: &str) -> Gateway {
    let settings = format!("{UNWATCHED}server: {{limits: {{{limits}}}}}\n");
    Gateway::with_settings(home, &home.provider("t", &[], "max_concurrency: 100"), &settings)
}

#[test]
fn lines() {
    let home = Home::new();
    let gateway = start(&home, "line_bytes: 3000");
    let bare = json!({"jsonrpc": "2.0", "id": 0, "method": "ping", "params": {"fill": ""}}).to_string();
    let ping = |id: u64, bytes: usize| {
        let line = bare.replace("\"id\":0", &format!("\"id\":{id}"));
        gateway.client.raw(&line.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - line.len()))));
    };
    for (id, bytes) in [(1, 2999), (2, 3000)] {
        ping(id, bytes);
        gateway.client.wait_line("its answer", |line| line.contains(&format!("\"id\":{id},")));
    }
    ping(3, 3001);
    let said = gateway.client.wait_line("a refusal", |line| line.contains("server.limits.line_bytes"));
    assert!(said.contains("more than 3000 bytes") && said.contains("-32600"), "{said}");
    ping(4, 3000);
    gateway.client.wait_line("its answer", |line| line.contains("\"id\":4,"));
    gateway.stop();
}

#[test]
fn json_depth() {
    let home = Home::new();
    let gateway = start(&home, "json_depth: 10");
    // The message and its parameters are two of them.
    let ping = |levels: usize| {
        let value = format!("{}{}", "[".repeat(levels - 2), "]".repeat(levels - 2));
        gateway
            .client
            .raw(&format!(r#"{{"jsonrpc":"2.0","id":{levels},"method":"ping","params":{{"deep":{value}}}}}"#));
    };
    for levels in [9, 10] {
        ping(levels);
        gateway.client.wait_line("its answer", |line| line.contains(&format!("\"id\":{levels},")));
    }
    ping(11);
    gateway.client.wait_line("a refusal", |line| line.contains("-32700") && line.contains("nested"));
    // Raised by a reload, in force at once.
    let yaml = std::fs::read_to_string(home.config()).unwrap().replace("json_depth: 10", "json_depth: 120");
    let report = gateway.reload_to(&yaml, json!({}));
    assert_eq!(report["status"], "success", "{report}");
    ping(120);
    gateway.client.wait_line("its answer", |line| line.contains("\"id\":120,"));
    gateway.stop();
}

#[test]
fn on_stdio_requests_wait_for_their_turn_and_what_the_running_ones_need_gets_past_them() {
    let home = Home::new();
    let gateway = start(&home, "in_flight: 2");
    gateway.client.pid_of("t");
    let began = Instant::now();
    let calls: Vec<_> = (0..3).map(|_| gateway.client.start_tool("t__sleep", json!({"ms": 2000}))).collect();
    // Asked behind them, answered at once.
    assert!(gateway.client.send("ping", json!({})).within(ms(1800)).is_some());
    calls.into_iter().for_each(|call| assert_eq!(call.wait()["result"]["content"][0]["text"], "slept"));
    let took = began.elapsed();
    assert!(took >= ms(3900), "two, and then one: {took:?}");
    gateway.stop();
    // Two that ask the client, and a third in front of the client's answers.
    let settings = format!("{UNWATCHED}server: {{limits: {{in_flight: 2}}}}\n");
    home.put(&config(&home.provider("t", &[], "sharing: session"), &settings));
    let gateway = Gateway::spawn(&home);
    gateway.client.initialize(json!({"elicitation": {}}));
    let asking: Vec<_> = (0..2).map(|_| gateway.client.start_tool("t__elicit", json!({}))).collect();
    let questions = gateway.client.wait_messages("elicitation/create", 2);
    let third = gateway.client.start_tool("t__echo", json!({}));
    for question in questions {
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}});
        gateway.client.raw(&answer.to_string());
    }
    asking.into_iter().for_each(|call| assert!(call.wait()["result"].is_object()));
    assert!(third.wait()["result"].is_object());
    gateway.stop();
}

#[test]
fn subscriptions() {
    let home = Home::new();
    let gateway = start(&home, "subscriptions: 2");
    gateway.client.pid_of("t");
    let ask = |what: &str, n: u64| {
        gateway.client.request(&format!("resources/{what}"), json!({"uri": format!("hangar://t/test://{n}")}))
    };
    assert!(ask("subscribe", 1)["result"].is_object() && ask("subscribe", 2)["result"].is_object());
    let refused = ask("subscribe", 3)["error"]["message"].to_string();
    assert!(refused.contains("2 resources already (server.limits.subscriptions)"), "{refused}");
    assert!(ask("subscribe", 1)["result"].is_object(), "the same once more");
    assert!(ask("unsubscribe", 1)["result"].is_object() && ask("subscribe", 3)["result"].is_object());
    gateway.stop();
}

#[test]
fn numbers_out_of_range_and_unknown_keys_are_refused() {
    let home = Home::new();
    let gateway = start(&home, "");
    for (limits, says) in [
        ("json_depth: 7", "server.limits.json_depth"),
        ("json_depth: 121", "server.limits.json_depth"),
        ("in_flight: 0", "server.limits.in_flight"),
        ("header_bytes: 8191", "server.limits.header_bytes"),
        ("request_bytes: 1023", "server.limits.request_bytes"),
        ("request_timeout_s: 0", "server.limits.request_timeout_s"),
        ("bodies: 1", "server.limits.bodies"),
    ] {
        let yaml = format!("{UNWATCHED}server: {{limits: {{{limits}}}}}\nproviders: {{}}\n");
        let report = gateway.reload_to(&yaml, json!({"dry_run": true}));
        assert_eq!(report["status"], "failed", "{limits}: {report}");
        assert_eq!(report["problems"][0]["path"], says, "{report}");
    }
    gateway.stop();
}
