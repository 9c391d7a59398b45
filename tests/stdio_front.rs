//! The stdio front as a client meets it: framing, ids, cancellation, and what belongs to whom. CONTRACT sections 4 and 8.

#[path = "support/gateway.rs"]
mod gateway;

use std::time::{Duration, Instant};

use gateway::{Gateway, Home, HttpSession, Pending, SOON, Value, eventually, holds_for, json, ms};

fn gateway_with(keys: &str) -> Gateway {
    let home = Home::new();
    Gateway::start(&home, &home.provider("a", &[], keys))
}

fn line_with(gateway: &Gateway, text: &str) -> Value {
    let line = gateway.client.wait_line(text, |line| line.contains(text));
    serde_json::from_str(&line).unwrap()
}

#[test]
fn bad_json_and_bad_envelopes_are_refused_with_their_codes_and_the_gateway_lives() {
    let gateway = gateway_with("");
    for (line, code, id) in [
        ("{\"jsonrpc\":\"2.0\",\"id\":1,", -32700, "null"),
        ("hello", -32700, "null"),
        ("{\"id\":11,\"method\":\"ping\"}", -32600, "11"),
        ("{\"jsonrpc\":\"1.0\",\"id\":12,\"method\":\"ping\"}", -32600, "12"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}", -32600, "null"),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", -32600, "null"),
        ("{\"jsonrpc\":\"2.0\",\"id\":13,\"method\":\"ping\",\"method\":\"tools/list\"}", -32600, "13"),
        ("{\"jsonrpc\":\"2.0\",\"id\":14,\"method\":\"no/such\"}", -32601, "14"),
        ("{\"jsonrpc\":\"2.0\",\"id\":15,\"method\":\"tools/call\",\"params\":{}}", -32602, "15"),
        ("[]", -32600, "null"),
        ("\"text\"", -32600, "null"),
    ] {
        let before = gateway.client.lines().len();
        gateway.client.raw(line);
        eventually(line, SOON, || (gateway.client.lines().len() > before).then_some(()));
        let answer: Value = serde_json::from_str(&gateway.client.lines()[before]).unwrap();
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        assert_eq!(answer["id"].to_string(), id, "{line}: {answer}");
    }
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":16,"method":"ping","params":{{"a":{}{}}}}}"#, "[".repeat(80), "]".repeat(80));
    gateway.client.raw(&deep);
    let answer =
        gateway.client.wait_line("a refusal of depth", |line| line.contains("-32700") && line.contains("deep"));
    assert!(answer.contains("error"));
    assert_eq!(gateway.client.text("a__echo", json!({})), "{}");
    gateway.stop();
}

#[test]
fn nothing_but_initialize_and_ping_is_served_before_the_handshake() {
    let home = Home::new();
    home.put(&gateway::config(&home.provider("a", &[], ""), gateway::UNWATCHED));
    let gateway = Gateway::spawn(&home);
    assert_eq!(gateway.client.request("ping", json!({}))["result"], json!({}));
    assert_eq!(gateway.client.request("tools/list", json!({}))["error"]["code"], -32600);
    for (asked, told) in [("2024-11-05", "2024-11-05"), ("2030-01-01", "2025-11-25")] {
        let gateway = Gateway::spawn(&home);
        assert_eq!(gateway.client.initialize_as(asked, json!({}))["protocolVersion"], told);
        assert_eq!(gateway.client.request("initialize", json!({"protocolVersion": asked}))["error"]["code"], -32600);
    }
}

#[test]
fn a_batch_is_answered_as_one_array() {
    let home = Home::new();
    home.put(&gateway::config(&home.provider("a", &[], ""), gateway::UNWATCHED));
    let gateway = Gateway::spawn(&home);
    gateway.client.initialize_as("2025-03-26", json!({}));
    let call = |id: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "a__pid"}});
    let batch = json!([
        call("x"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 7, "method": "ping"},
        {"id": "bad"},
        call("y"),
    ]);
    gateway.client.raw(&batch.to_string());
    let answers: Value =
        serde_json::from_str(&gateway.client.wait_line("a batch", |line| line.starts_with('['))).unwrap();
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!("x"), json!(7), json!("bad"), json!("y")]);
    assert_eq!(answers[2]["error"]["code"], -32600);
    assert_eq!(answers[0]["result"], answers[3]["result"]);
    gateway.client.raw(r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#);
    let lines = gateway.client.lines().len();
    holds_for("a batch of notifications has no answer", ms(200), || gateway.client.lines().len() == lines);
    gateway.stop();
}

#[test]
fn ids_come_back_as_they_were_spelled() {
    let gateway = gateway_with("");
    for id in ["0", "-5", "9007199254740993", "18446744073709551616123", r#""text""#, r#""7""#, r#""A\/é""#, r#""""#] {
        gateway
            .client
            .raw(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"a__pid"}}}}"#));
        gateway.client.wait_line(id, |line| line.contains(&format!("\"id\":{id},")) && line.contains("result"));
    }
    gateway.stop();
}

#[test]
fn what_a_client_sends_and_an_upstream_answers_passes_byte_for_byte() {
    let gateway = gateway_with("");
    let arguments =
        r#"{"z":1,"a":1.10,"big":123456789012345678901234567890,"e":1E400,"s":"\u00e9\/","dup":1,"dup":2,"n":null}"#;
    for (id, tool) in [(501, "structured"), (502, "echo")] {
        let params = format!(r#"{{"name":"a__{tool}","arguments":{arguments},"unknown":{{"k":0.1}}}}"#);
        gateway.client.raw(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#));
    }
    let line = gateway.client.wait_line("the answer", |line| line.contains("\"id\":501,"));
    assert!(line.contains(&format!("\"structuredContent\":{arguments}")), "{line}");
    assert_eq!(line_with(&gateway, "\"id\":502,")["result"]["content"][0]["text"], arguments);
    let list = gateway.client.wait_line("nothing yet", |_| true);
    assert!(!list.is_empty());
    gateway.client.tools();
    gateway.client.wait_line("unknown fields of a tool", |line| line.contains(r#""x-unknown-field":{"kept":0.1}"#));
    gateway.stop();
}

#[test]
fn an_id_that_is_in_flight_is_refused_and_free_again_after_the_answer() {
    let gateway = gateway_with("");
    gateway.client.pid_of("a");
    let call = |ms: u32| {
        let params = json!({"name": "a__sleep", "arguments": {"ms": ms}});
        gateway
            .client
            .raw(&json!({"jsonrpc": "2.0", "id": "same", "method": "tools/call", "params": params}).to_string());
    };
    call(400);
    call(0);
    let refused = line_with(&gateway, "in flight already");
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("same"), &json!(-32600)));
    gateway.client.wait_line("the first answer", |line| line.contains("slept"));
    let before = gateway.client.lines().len();
    call(0);
    eventually("the id is free again", SOON, || {
        gateway.client.lines()[before..].iter().any(|line| line.contains("slept")).then_some(())
    });
    gateway.stop();
}

#[test]
fn h16_a_cancel_of_the_client_reaches_the_upstream_and_has_no_answer() {
    let gateway = gateway_with("max_concurrency: 1");
    gateway.client.pid_of("a");
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 15000}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.client.notify("notifications/cancelled", json!({"requestId": call.id, "reason": "changed my mind"}));
    // The one permit is free again: the cancelled call holds nothing.
    let ids = eventually("the upstream hears of it", SOON, || {
        Some(gateway.client.text("a__cancelled", json!({}))).filter(|ids| ids != "[]")
    });
    assert_ne!(ids, format!("[{}]", call.id), "the upstream's own id is named, not the client's");
    assert!(call.within(ms(200)).is_none());
    gateway.client.notify("notifications/cancelled", json!({"requestId": 999_999}));
    gateway.client.notify("notifications/cancelled", json!({}));
    gateway.client.text("a__echo", json!({}));
    gateway.stop();
}

#[test]
fn h16_cancelling_a_batch_call_cancels_every_call_in_it() {
    let gateway = gateway_with("");
    gateway.client.pid_of("a");
    let one = json!({"provider": "a", "tool": "sleep", "arguments": {"ms": 15000}});
    let batch = gateway.client.start_tool("hangar_call", json!({"calls": [one, one, one]}));
    eventually("they run", SOON, || (gateway.provider("a")["calls_in_flight"] == 3).then_some(()));
    gateway.client.notify("notifications/cancelled", json!({"requestId": batch.id}));
    eventually("all are cancelled", SOON, || {
        (gateway.client.text("a__cancelled", json!({})).split(',').count() == 3).then_some(())
    });
    gateway.stop();
}

#[test]
fn progress_comes_before_the_answer_under_the_clients_own_token() {
    let gateway = gateway_with("");
    for token in [json!("tok"), json!(7), json!("7")] {
        let before = gateway.client.lines().len();
        let params = json!({"name": "a__progress", "arguments": {"n": 3, "ms": 5}, "_meta": {"progressToken": token}});
        gateway.client.request("tools/call", params);
        let lines = gateway.client.lines();
        let of_call: Vec<Value> = lines[before..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(of_call.len(), 4, "{of_call:?}");
        for (step, message) in of_call[..3].iter().enumerate() {
            assert_eq!(
                (&message["params"]["progressToken"], &message["params"]["progress"]),
                (&token, &json!(step + 1))
            );
        }
    }
    let before = gateway.client.lines().len();
    gateway.client.tool("a__progress", json!({"n": 2}));
    assert_eq!(gateway.client.lines().len(), before + 1, "without a token there is no progress");
    let same = json!({"name": "a__progress", "arguments": {"n": 2, "ms": 30}, "_meta": {"progressToken": "same"}});
    let calls: Vec<_> = (0..2).map(|_| gateway.client.send("tools/call", same.clone())).collect();
    calls.into_iter().for_each(|call| drop(call.wait()));
    let progress = gateway.client.messages("notifications/progress");
    assert_eq!(progress.iter().filter(|m| m["params"]["progressToken"] == "same").count(), 4);
    gateway.stop();
}

#[test]
fn log_messages_of_a_call_reach_its_client_from_the_wanted_level_on() {
    let gateway = gateway_with("");
    gateway.client.tool("a__log", json!({"n": 2}));
    let logs = gateway.client.messages("notifications/message");
    assert_eq!(logs.len(), 2);
    assert_eq!(logs[1]["params"]["data"], "message 1");
    assert_eq!(gateway.client.request("logging/setLevel", json!({"level": "warning"}))["result"], json!({}));
    eventually("the upstream is told", SOON, || {
        (gateway.client.text("a__log_level", json!({})) == "warning").then_some(())
    });
    gateway.client.tool("a__log", json!({"n": 2}));
    assert_eq!(gateway.client.messages("notifications/message").len(), 2);
    assert_eq!(gateway.client.request("logging/setLevel", json!({"level": "loud"}))["error"]["code"], -32602);
    gateway.stop();
}

fn answer(gateway: &Gateway, method: &str, nth: usize, result: Value) {
    let request = gateway.client.wait_messages(method, nth + 1)[nth].clone();
    gateway.client.raw(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string());
}

fn text_of(call: Pending) -> String {
    call.wait()["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn elicitation_and_sampling_go_to_the_client_that_calls_and_their_answers_back() {
    let home = Home::new();
    home.put(&gateway::config(&home.provider("a", &[], ""), gateway::UNWATCHED));
    let gateway = Gateway::spawn(&home);
    gateway.client.initialize(json!({"elicitation": {}, "sampling": {}}));
    let call = gateway.client.start_tool("a__elicit", json!({}));
    answer(&gateway, "elicitation/create", 0, json!({"action": "accept", "content": {"name": "Ada"}}));
    assert_eq!(text_of(call), r#"{"action":"accept","content":{"name":"Ada"}}"#);
    let request = &gateway.client.messages("elicitation/create")[0];
    assert_eq!(request["params"]["message"], "Who are you?");
    let both: Vec<_> = (0..2).map(|_| gateway.client.start_tool("a__sample", json!({}))).collect();
    for nth in 0..2 {
        answer(&gateway, "sampling/createMessage", nth, json!({"role": "assistant", "nth": nth}));
    }
    let mut answers: Vec<_> = both.into_iter().map(text_of).collect();
    answers.sort();
    assert_eq!(answers, [r#"{"role":"assistant","nth":0}"#, r#"{"role":"assistant","nth":1}"#]);
    gateway.stop();
}

#[test]
fn what_a_client_has_not_declared_is_refused_and_never_sent_to_it() {
    let gateway = gateway_with("");
    for (tool, method) in
        [("elicit", "elicitation/create"), ("sample", "sampling/createMessage"), ("roots", "roots/list")]
    {
        let answer = gateway.client.text(&format!("a__{tool}"), json!({}));
        assert!(answer.contains("cannot be routed"), "{answer}");
        assert!(gateway.client.messages(method).is_empty());
    }
    gateway.stop();
}

#[test]
fn a_question_that_could_be_for_either_of_two_clients_is_for_neither() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let [mut one, mut other] = [(); 2].map(|()| HttpSession::open_with(address, json!({"elicitation": {}})));
    let mut watcher = HttpSession::open(address);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| one.call("a__sleep", json!({"ms": 700})));
        eventually("the first client's call runs", SOON, || {
            let list = watcher.call("hangar_list", json!({}))["result"]["structuredContent"].take();
            (list["providers"][0]["calls_in_flight"] == 1).then_some(())
        });
        let answer = other.call("a__elicit", json!({}));
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        assert!(text.contains("cannot be routed"), "{text}");
        assert_eq!(running.join().unwrap()["result"]["content"][0]["text"], "slept");
    });
    gateway.stop();
}

#[test]
fn questions_that_are_never_answered_do_not_use_up_the_way_to_the_client() {
    let home = Home::new();
    let keys = "call_timeout_s: 0.5, max_concurrency: 0";
    home.put(&gateway::config(&home.provider("a", &[], keys), gateway::UNWATCHED));
    let gateway = Gateway::spawn(&home);
    gateway.client.initialize(json!({"elicitation": {}}));
    gateway.client.pid_of("a");
    let calls: Vec<_> = (0..64).map(|_| gateway.client.start_tool("a__elicit", json!({}))).collect();
    for call in calls {
        assert!(call.error().contains("call_timeout_s"));
    }
    let asked = gateway.client.messages("elicitation/create").len();
    assert_eq!(asked, 64);
    let call = gateway.client.start_tool("a__elicit", json!({}));
    answer(&gateway, "elicitation/create", asked, json!({"action": "decline"}));
    assert_eq!(text_of(call), r#"{"action":"decline"}"#);
    gateway.stop();
}

#[test]
fn an_unknown_tool_is_an_error_that_names_the_closest() {
    let gateway = gateway_with("");
    gateway.client.tools();
    let error = gateway.client.start_tool("b__echo", json!({})).wait();
    assert_eq!(error["error"]["code"], -32602);
    assert!(error["error"]["message"].as_str().unwrap().contains("did you mean \"a__echo\"?"), "{error}");
    let own = gateway.client.start_tool("hangar_lst", json!({})).error();
    assert!(own.contains("did you mean \"hangar_list\"?"), "{own}");
    let refused = gateway.client.tool("hangar_details", json!({"provider": "aa"}));
    assert_eq!(
        (&refused["isError"], &refused["structuredContent"]["error"]),
        (&json!(true), &json!("unknown_provider"))
    );
    gateway.stop();
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_next_one_served() {
    let gateway = gateway_with("");
    let long = "x".repeat(17 * 1024 * 1024);
    gateway.client.raw(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{long}"}}}}"#));
    let refused = line_with(&gateway, "was dropped");
    assert_eq!(refused["error"]["code"], -32600);
    let large = "y".repeat(8 * 1024 * 1024);
    assert_eq!(gateway.client.text("a__echo", json!({"y": large})).len(), large.len() + 8);
    gateway.stop();
}

#[test]
fn an_answer_that_is_too_long_fails_its_own_call_alone() {
    let gateway = gateway_with("");
    gateway.client.pid_of("a");
    let other = gateway.client.start_tool("a__sleep", json!({"ms": 1500}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    let error = gateway.client.start_tool("a__big", json!({"bytes": 17 * 1024 * 1024})).error();
    assert!(error.contains("\"a\"") && error.contains("bytes"), "{error}");
    assert_eq!(text_of(other), "slept");
    gateway.stop();
}

#[test]
fn calls_in_flight_are_answered_after_the_clients_end_of_file() {
    let mut gateway = gateway_with("");
    gateway.client.pid_of("a");
    let calls: Vec<_> = (0..3).map(|n| gateway.client.start_tool("a__sleep", json!({"ms": 200 * n}))).collect();
    gateway.client.close();
    for call in calls {
        assert_eq!(text_of(call), "slept");
    }
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    gateway.client.wait_end();
    gateway.home.assert_nothing_left(Duration::ZERO);
    gateway.home.assert_starts_equal_stops("a");
}

#[test]
fn a_client_that_never_says_a_word_and_leaves_ends_the_gateway() {
    let home = Home::new();
    home.put(&gateway::config(&home.provider("a", &[], ""), gateway::UNWATCHED));
    let mut gateway = Gateway::spawn(&home);
    gateway.client.close();
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
}

#[test]
fn noise_and_foreign_ids_of_an_upstream_disturb_nobody() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--noise", "50", "--stderr-flood", "3000000"], ""));
    gateway.client.text("a__noise", json!({"lines": 100}));
    gateway.client.text("a__stderr", json!({"bytes": 3_000_000}));
    assert_eq!(gateway.client.text("a__bad_ids", json!({})), "first");
    gateway.client.text("a__echo", json!({}));
    let strays = gateway.client.structured("hangar_metrics", json!({"filter": "hangar_stray_messages_total"}));
    assert!(strays["metrics"].as_str().unwrap().ends_with(" 3"), "{strays}");
    assert_eq!(home.start_count("a"), 1);
    gateway.stop();
}

#[test]
fn thirty_two_calls_at_once_all_get_their_own_answer() {
    let gateway = gateway_with("max_concurrency: 0");
    let began = Instant::now();
    let calls: Vec<_> = (0..32).map(|n| (n, gateway.client.start_tool("a__echo", json!({"n": n})))).collect();
    for (n, call) in calls {
        assert_eq!(text_of(call), format!("{{\"n\":{n}}}"));
    }
    assert!(began.elapsed() < SOON);
    gateway.stop();
}
