//! Upstreams of revision 2026-07-28, as a child process: found out, spoken to, and bridged to clients of both eras, through the
//! shipped binary.

#[path = "support/gateway.rs"]
mod gateway;

use std::{sync::Arc, time::Instant};

use gateway::{Gateway, Home, Pending, UNWATCHED, Value, config, eventually, json, ms};

const VERSION: &str = "2026-07-28";

/// A test provider `a` that writes down what it is asked.
fn provider(home: &Home, args: &[&str], keys: &str) -> String {
    let log = home.path("logs/a.requests");
    let mut all = vec!["--log-requests", log.to_str().unwrap()];
    all.extend(args);
    home.provider("a", &all, keys)
}

/// The methods of what `a` was sent so far, oldest first.
fn asked(home: &Home) -> Vec<String> {
    let text = std::fs::read_to_string(home.path("logs/a.requests")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn start(home: &Arc<Home>, args: &[&str], keys: &str, capabilities: Value) -> Gateway {
    home.put(&config(&provider(home, args, keys), UNWATCHED));
    let gateway = Gateway::spawn(home);
    gateway.client.initialize(capabilities);
    gateway
}

fn revision(gateway: &Gateway) -> String {
    let details = gateway.client.structured("hangar_details", json!({"provider": "a"}));
    details["protocol_version"].as_str().unwrap_or_else(|| panic!("{details}")).to_owned()
}

/// What `a` got as params of a call to its tool `meta`.
fn seen(gateway: &Gateway, parameters: Value) -> Value {
    let answer = gateway.client.request("tools/call", parameters);
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(text).unwrap()
}

/// Params as a client of the modern era writes them.
fn modern(mut more: Value, capabilities: Value) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        "io.modelcontextprotocol/clientInfo": {"name": "modern-test", "version": "1"},
    });
    meta.as_object_mut().unwrap().extend(more["_meta"].as_object().cloned().unwrap_or_default());
    more["_meta"] = meta;
    more
}

#[test]
fn a_server_of_both_eras_is_spoken_to_in_the_modern_one_unless_pinned() {
    for (era, pin, spoken) in [
        ("both", "auto", VERSION),
        ("both", "legacy", "2025-11-25"),
        ("both", "2026-07-28", VERSION),
        ("modern", "auto", VERSION),
        ("locked", "auto", VERSION),
        ("locked", "legacy", "2025-11-25"),
        ("legacy", "auto", "2025-11-25"),
        ("legacy", "legacy", "2025-11-25"),
    ] {
        let home = Home::new();
        let gateway = start(&home, &["--era", era], &format!("protocol: \"{pin}\""), json!({}));
        assert_eq!(gateway.client.text("a__echo", json!({"n": 1})), "{\"n\":1}", "{era} {pin}");
        assert_eq!(revision(&gateway), spoken, "{era} {pin}");
        let asked = asked(&home);
        assert_eq!(asked.contains(&"server/discover".to_owned()), pin != "legacy", "{era} {pin}: {asked:?}");
        assert_eq!(asked.contains(&"initialize".to_owned()), spoken != VERSION, "{era} {pin}: {asked:?}");
        if pin == "legacy" {
            assert_eq!(asked[..2], ["initialize", "notifications/initialized"]);
        }
        gateway.stop();
    }
}

#[test]
fn a_pin_that_the_server_does_not_speak_is_told() {
    for (era, pin, says) in
        [("legacy", "2026-07-28", "it answered server/discover with error -32601"), ("modern", "legacy", "-32022")]
    {
        let home = Home::new();
        let gateway = start(&home, &["--era", era], &format!("protocol: \"{pin}\""), json!({}));
        let error = gateway.client.start_tool("a__echo", json!({})).error();
        assert!(error.contains(says), "{error}");
        gateway.stop();
    }
}

#[test]
fn whatever_a_legacy_server_says_to_the_probe_it_is_greeted_the_old_way() {
    for probe in ["unknown", "error:-32602", "error:-32000", "error:0", "garbage", "silent", "noise", "exit", "linger"]
    {
        let home = Home::new();
        // The probe waits for a third of it.
        let gateway = start(&home, &["--probe", probe], "startup_timeout_s: 3", json!({}));
        let began = Instant::now();
        assert_eq!(gateway.client.text("a__echo", json!({})), "{}", "{probe}");
        assert!(began.elapsed() < ms(2800), "{probe}: {:?}", began.elapsed());
        assert_eq!(revision(&gateway), "2025-11-25", "{probe}");
        let asked = asked(&home);
        assert!(!asked.iter().any(|method| method == "notifications/cancelled"), "{probe}: {asked:?}");
        assert_eq!(home.start_count("a"), if ["exit", "linger"].contains(&probe) { 2 } else { 1 }, "{probe}");
        gateway.stop();
    }
}

#[test]
fn a_server_that_refuses_but_names_the_revision_is_asked_once_more() {
    let home = Home::new();
    let gateway = start(&home, &["--era", "modern", "--probe", "twice"], "", json!({}));
    gateway.client.text("a__echo", json!({}));
    assert_eq!(asked(&home)[..3], ["server/discover", "server/discover", "tools/list"]);
    gateway.stop();
}

#[test]
fn a_server_that_chokes_on_the_probe_starts_the_next_time() {
    let home = Home::new();
    let gateway = start(&home, &["--probe", "choke"], "startup_timeout_s: 1", json!({}));
    let error = gateway.client.start_tool("a__echo", json!({})).error();
    assert!(error.contains("not ready within 1.0 s"), "{error}");
    eventually("the back-off is over", gateway::SOON, || {
        gateway.client.start_tool("a__echo", json!({})).wait().get("result").map(drop)
    });
    assert_eq!(home.start_count("a"), 2);
    gateway.stop();
}

#[test]
fn a_slow_server_that_takes_the_first_word_for_good_is_understood() {
    let home = Home::new();
    // It reads both questions at once, after the probe has been given up.
    let gateway = start(&home, &["--era", "locked", "--start-delay", "1600"], "startup_timeout_s: 3", json!({}));
    assert_eq!(gateway.client.text("a__echo", json!({})), "{}");
    assert_eq!(revision(&gateway), VERSION);
    assert_eq!(asked(&home)[..2], ["server/discover", "initialize"]);
    gateway.stop();
}

#[test]
fn a_slow_server_that_turns_with_the_latest_word_is_understood() {
    let home = Home::new();
    let script = home.path("conf/server.sh");
    let log = home.path("logs/a.requests");
    let write = |delay: u32| {
        let options = format!("--era turning --start-delay {delay} --lifetime 60 --log-requests {}", log.display());
        std::fs::write(&script, format!("exec {} {options}\n", gateway::PROVIDER)).unwrap();
    };
    write(1600);
    home.put(&config(&format!("  a: {{command: [sh, {}], startup_timeout_s: 3}}\n", script.display()), UNWATCHED));
    let gateway = Gateway::again(&home);
    assert_eq!(gateway.client.text("a__echo", json!({})), "{}");
    assert_eq!(revision(&gateway), "2025-11-25");
    assert_eq!(asked(&home)[..2], ["server/discover", "initialize"]);
    gateway.stop();
    // That it was late once is not held against it.
    write(0);
    let gateway = Gateway::again(&home);
    gateway.client.text("a__echo", json!({}));
    assert_eq!(revision(&gateway), VERSION);
    gateway.stop();
}

#[test]
fn what_was_learned_is_remembered_for_the_same_provider() {
    for (era, first) in [("legacy", "initialize"), ("modern", "server/discover")] {
        let home = Home::new();
        let gateway = start(&home, &["--era", era], "", json!({}));
        gateway.client.text("a__echo", json!({}));
        gateway.stop();
        let before = asked(&home).len();
        let gateway = Gateway::again(&home);
        gateway.client.text("a__echo", json!({}));
        let asked = asked(&home).split_off(before);
        assert_eq!(asked[0], first, "{asked:?}");
        assert_eq!(
            asked.iter().filter(|method| ["server/discover", "initialize"].contains(&method.as_str())).count(),
            1
        );
        gateway.stop();
    }
    // What a pin says otherwise is not remembered wrongly: listed first, then called.
    let home = Home::new();
    start(&home, &["--era", "both"], "", json!({})).stop();
    for (pin, spoken, bad_marks) in
        [("auto", VERSION, false), ("legacy", "2025-11-25", true), ("\"2026-07-28\"", VERSION, false)]
    {
        let gateway = start(&home, &["--era", "both"], &format!("protocol: {pin}"), json!({}));
        assert_eq!(gateway.client.tools().contains(&"a__bad_mark".to_owned()), bad_marks, "{pin}");
        assert_eq!(revision(&gateway), spoken, "{pin}");
        let other = if pin == "legacy" { "\"2026-07-28\"" } else { "legacy" };
        gateway.reload(&provider(&home, &["--era", "both"], &format!("protocol: {other}")));
        assert_eq!(gateway.client.tools().contains(&"a__bad_mark".to_owned()), !bad_marks, "{other} after {pin}");
        gateway.stop();
    }
    // A server that has moved on to the other era alone is found all the same.
    let home = Home::new();
    let script = home.path("conf/server.sh");
    let write = |era: &str| {
        std::fs::write(&script, format!("exec {} --era {era} --lifetime 60\n", gateway::PROVIDER)).unwrap();
    };
    write("legacy");
    home.put(&config(&format!("  a: {{command: [sh, {}]}}\n", script.display()), UNWATCHED));
    let gateway = Gateway::again(&home);
    gateway.client.text("a__echo", json!({}));
    gateway.stop();
    write("modern");
    let gateway = Gateway::again(&home);
    gateway.client.text("a__echo", json!({}));
    assert_eq!(revision(&gateway), VERSION);
    gateway.stop();
    write("legacy");
    let gateway = Gateway::again(&home);
    gateway.client.text("a__echo", json!({}));
    assert_eq!(revision(&gateway), "2025-11-25");
    gateway.stop();
}

#[test]
fn a_legacy_clients_requests_get_exactly_what_a_modern_server_needs() {
    let home = Home::new();
    let capabilities = json!({"elicitation": {"form": {}}, "sampling": {}, "experimental": {"x": {}}});
    let gateway = start(&home, &["--era", "modern"], "", capabilities);
    let params = seen(&gateway, json!({"arguments": {"n": 1}, "name": "a__meta", "x-own": [1, 2]}));
    let meta = &params["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], VERSION);
    assert_eq!(
        meta["io.modelcontextprotocol/clientCapabilities"],
        json!({"sampling": {}, "elicitation": {"form": {}}, "experimental": {"x": {}}}),
        "what this client has, as it declared it"
    );
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "hangar");
    assert_eq!(meta.as_object().unwrap().len(), 3, "{meta}");
    // Beside what is already there, byte for byte.
    let line = r#"{ "jsonrpc":"2.0", "params" : {"name":"a__meta","_meta":{ "com.example/k" : 1.10 },"arguments":{"z":0.10}} ,"method":"tools/call","id":"x" }"#;
    gateway.client.raw(line);
    let answer = gateway.client.wait_line("the answer", |line| line.contains(r#""id":"x""#));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with(r#"{"name":"meta","_meta":{"io.modelcontextprotocol/protocolVersion":"#), "{text}");
    assert!(text.ends_with(r#", "com.example/k" : 1.10 },"arguments":{"z":0.10}}"#), "{text}");
    gateway.client.request("logging/setLevel", json!({"level": "info"}));
    let params = seen(&gateway, json!({"name": "a__meta"}));
    assert_eq!(params["_meta"]["io.modelcontextprotocol/logLevel"], "info");
    assert!(!asked(&home).contains(&"logging/setLevel".to_owned()));
    gateway.stop();
}

#[test]
fn a_modern_clients_own_words_pass_as_they_are() {
    let home = Home::new();
    home.put(&config(&provider(&home, &["--era", "modern"], ""), UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let meta = r#"{ "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x": 1.10} }"#;
    gateway.client.raw(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a__meta","_meta":{meta}}}}}"#
    ));
    let answer = gateway.client.wait_line("the answer", |line| line.contains(r#""id":1,"#));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(text, format!(r#"{{"name":"meta","_meta":{meta}}}"#));
    // Lists come from the gateway, results with what their server says about them.
    let read = gateway.client.request("resources/read", modern(json!({"uri": "hangar://a/test://one"}), json!({})));
    assert_eq!((&read["result"]["ttlMs"], &read["result"]["cacheScope"]), (&json!(5), &json!("public")), "{read}");
    gateway.stop();
}

#[test]
fn what_does_not_exist_has_the_code_of_the_clients_era() {
    let home = Home::new();
    let gateway = start(&home, &["--era", "modern"], "", json!({}));
    let uri = json!({"uri": "hangar://a/test://nowhere"});
    assert_eq!(gateway.client.request("resources/read", uri.clone())["error"]["code"], -32002);
    assert_eq!(gateway.client.request("resources/read", modern(uri, json!({})))["error"]["code"], -32602);
    gateway.stop();
}

#[test]
fn tools_whose_headers_make_no_sense_are_left_out() {
    let home = Home::new();
    let gateway = start(&home, &["--era", "modern"], "", json!({}));
    let tools = gateway.client.tools();
    assert!(tools.contains(&"a__region".to_owned()), "{tools:?}");
    assert!(!tools.contains(&"a__bad_mark".to_owned()) && !tools.contains(&"a__twice_marked".to_owned()), "{tools:?}");
    for tool in ["bad_mark", "twice_marked"] {
        gateway.wait_for_log(&format!("invalid x-mcp-header is left out provider=a tool=\"{tool}\""));
    }
    gateway.stop();
}

/// Answers what the gateway asks of its client.
fn reply(gateway: &Gateway, method: &str, count: usize, result: &Value) -> Value {
    let messages = gateway.client.wait_messages(method, count);
    let request = messages[count - 1].clone();
    gateway.client.raw(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string());
    request
}

fn text(pending: Pending) -> String {
    let answer = pending.wait();
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn a_modern_servers_question_becomes_a_request_to_its_legacy_client() {
    let home = Home::new();
    let all = json!({"elicitation": {}, "sampling": {}, "roots": {}});
    let gateway = start(&home, &["--era", "modern"], "", all);
    for (tool, method, result) in [
        ("elicit", "elicitation/create", json!({"action": "accept", "content": {"name": "me"}})),
        ("elicit", "elicitation/create", json!({"action": "decline"})),
        (
            "sample",
            "sampling/createMessage",
            json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "x"}}),
        ),
        ("roots", "roots/list", json!({"roots": [{"uri": "file:///a"}]})),
    ] {
        let before = gateway.client.messages(method).len();
        let call = gateway.client.start_tool(&format!("a__{tool}"), json!({"keep": 1.5}));
        let request = reply(&gateway, method, before + 1, &result);
        assert!(request["params"].is_object(), "{request}");
        let told: Value = serde_json::from_str(&text(call)).unwrap();
        assert_eq!(told["answers"], json!({"q": result}), "{tool}");
    }
    // Through the gateway's own tool, too.
    let before = gateway.client.messages("roots/list").len();
    let call = gateway.client.start_tool("hangar_call", json!({"calls": [{"provider": "a", "tool": "roots"}]}));
    reply(&gateway, "roots/list", before + 1, &json!({"roots": []}));
    let answer = call.wait();
    assert!(answer.to_string().contains("roots"), "{answer}");
    gateway.stop();
}

#[test]
fn a_server_may_ask_again_but_not_for_ever() {
    let home = Home::new();
    let gateway = start(&home, &["--era", "modern"], "", json!({"elicitation": {}}));
    let call = gateway.client.start_tool("a__rounds", json!({"n": 3}));
    for round in 1..=3 {
        reply(&gateway, "elicitation/create", round, &json!({"action": "accept"}));
    }
    assert!(text(call).contains("\"rounds\":3"));
    let call = gateway.client.start_tool("a__rounds", json!({"n": 100}));
    for round in 4..4 + 16 {
        reply(&gateway, "elicitation/create", round, &json!({"action": "accept"}));
    }
    let error = call.error();
    assert!(error.contains("asked 16 times"), "{error}");
    gateway.stop();
}

#[test]
fn a_client_that_cannot_or_will_not_be_asked_gets_a_clear_error() {
    let home = Home::new();
    // This one asks whatever was declared.
    let gateway = start(&home, &["--era", "both"], "", json!({"sampling": {}}));
    let error = gateway.client.start_tool("a__elicit", json!({})).wait()["error"].take();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("\"a\" needs elicitation/create") && message.contains("not declared"), "{message}");
    assert_eq!((&error["data"]["error"], &error["data"]["fault"]), (&json!("input_not_given"), &json!("downstream")));
    let call = gateway.client.start_tool("a__sample", json!({}));
    let request = gateway.client.wait_messages("sampling/createMessage", 1)[0].clone();
    let refusal = json!({"code": -1, "message": "the user says no"});
    gateway.client.raw(&json!({"jsonrpc": "2.0", "id": request["id"], "error": refusal}).to_string());
    let message = call.error();
    assert!(message.contains("refused it") && message.contains("the user says no"), "{message}");
    // Cancelled by its client in the middle: nothing is left of it.
    let call = gateway.client.start_tool("a__sample", json!({}));
    gateway.client.wait_messages("sampling/createMessage", 2);
    gateway.client.notify("notifications/cancelled", json!({"requestId": call.id}));
    eventually("no call is in flight", gateway::SOON, || (gateway.provider("a")["calls_in_flight"] == 0).then_some(()));
    assert_eq!(gateway.client.text("a__echo", json!({})), "{}");
    gateway.stop();
}

#[test]
fn a_modern_client_gets_a_modern_servers_question_and_state_as_they_are() {
    let home = Home::new();
    home.put(&config(&provider(&home, &["--era", "modern"], ""), UNWATCHED));
    let gateway = Gateway::spawn(&home);
    for capabilities in [json!({"elicitation": {}}), json!({"elicitation": {}, "sampling": {}, "roots": {}})] {
        let ask = |more: Value| {
            let mut call = json!({"name": "a__elicit", "arguments": {}});
            call.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            gateway.client.request("tools/call", modern(call, capabilities.clone()))
        };
        let asked = ask(json!({}))["result"].take();
        assert_eq!(
            (&asked["resultType"], &asked["requestState"]),
            (&json!("input_required"), &json!("mine:1")),
            "{asked}"
        );
        assert_eq!(
            (&asked["x-more"], &asked["inputRequests"]["q"]["method"]),
            (&json!(1), &json!("elicitation/create"))
        );
        let done = ask(json!({"requestState": "mine:1", "inputResponses": {"q": {"action": "accept"}}}));
        assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("accept"), "{done}");
        // It is the server's to judge.
        let refused = ask(json!({"requestState": "forged", "inputResponses": {"q": {}}}));
        assert_eq!(refused["error"]["message"], "no state of mine", "{refused}");
        // What looks like ours is not passed on.
        let refused = ask(json!({"requestState": "hangar.1.00.00", "inputResponses": {"q": {}}}));
        assert!(refused["error"]["message"].as_str().unwrap().contains("not made by this gateway"), "{refused}");
    }
    gateway.stop();
}

#[test]
fn progress_logs_and_cancels_go_their_way() {
    let home = Home::new();
    let gateway = start(&home, &["--era", "modern"], "", json!({}));
    let token = json!({"name": "a__progress", "arguments": {"n": 2, "ms": 1}, "_meta": {"progressToken": "mine"}});
    gateway.client.request("tools/call", token);
    assert_eq!(gateway.client.wait_messages("notifications/progress", 2)[1]["params"]["progressToken"], "mine");
    gateway.client.text("a__log", json!({"n": 2}));
    assert!(gateway.client.messages("notifications/message").is_empty(), "no level was asked for");
    gateway.client.request("logging/setLevel", json!({"level": "debug"}));
    gateway.client.text("a__log", json!({"n": 2}));
    gateway.client.wait_messages("notifications/message", 2);
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 60_000}));
    eventually("it sleeps", gateway::SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.client.notify("notifications/cancelled", json!({"requestId": call.id}));
    eventually("it knows", gateway::SOON, || (gateway.client.text("a__cancelled", json!({})) != "[]").then_some(()));
    gateway.stop();
}

#[test]
fn one_listen_stream_brings_changes_and_updates() {
    let home = Home::new();
    let gateway = start(&home, &["--era", "modern"], "", json!({}));
    gateway.client.tools();
    let listening = || serde_json::from_str::<Value>(&gateway.client.text("a__listening", json!({}))).unwrap();
    let kinds = json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true});
    eventually("it is listened to", gateway::SOON, || (listening() == json!([kinds])).then_some(()));
    gateway.client.text("a__add_tool", json!({"name": "late"}));
    gateway.client.wait_messages("notifications/tools/list_changed", 1);
    assert!(gateway.client.tools().contains(&"a__late".to_owned()));
    // Subscriptions: on the one stream, answered when it is acknowledged.
    let subscribe =
        |method: &str, uri: &str| gateway.client.request(method, json!({"uri": format!("hangar://a/{uri}")}));
    for uri in ["test://one", "test://two"] {
        assert_eq!(subscribe("resources/subscribe", uri)["result"], json!({}));
    }
    let uris = |listening: &Value| listening[0]["resourceSubscriptions"].clone();
    eventually("one stream", gateway::SOON, || {
        let now = listening();
        (now.as_array().unwrap().len() == 1 && uris(&now) == json!(["test://one", "test://two"])).then_some(())
    });
    gateway.client.text("a__update_resource", json!({"uri": "test://one"}));
    let update = gateway.client.wait_messages("notifications/resources/updated", 1)[0].clone();
    assert_eq!(update["params"], json!({"uri": "hangar://a/test://one"}), "without the mark of our subscription");
    subscribe("resources/unsubscribe", "test://one");
    eventually("it is told", gateway::SOON, || (uris(&listening()) == json!(["test://two"])).then_some(()));
    // The server ends the stream: it is opened again, with everything.
    gateway.client.text("a__end_listening", json!({}));
    eventually("it is listened to again", gateway::SOON, || {
        (uris(&listening()) == json!(["test://two"])).then_some(())
    });
    // So it is after a crash.
    gateway.client.start_tool("a__exit", json!({"code": 1})).wait();
    eventually("the next instance is listened to", gateway::SOON, || {
        (uris(&listening()) == json!(["test://two"])).then_some(())
    });
    gateway.client.text("a__update_resource", json!({"uri": "test://two"}));
    gateway.client.wait_messages("notifications/resources/updated", 2);
    gateway.stop();
}

#[test]
fn a_modern_client_hears_a_modern_servers_updates_under_its_own_mark() {
    let home = Home::new();
    home.put(&config(&provider(&home, &["--era", "modern"], ""), UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let filter =
        json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["hangar://a/test://one"]}});
    let listen = gateway.client.send("subscriptions/listen", modern(filter, json!({})));
    gateway.client.wait_messages("notifications/subscriptions/acknowledged", 1);
    let call = |tool: &str, arguments: Value| {
        gateway.client.request("tools/call", modern(json!({"name": tool, "arguments": arguments}), json!({})))
    };
    eventually("it is passed on", gateway::SOON, || {
        call("a__listening", json!({})).to_string().contains("test://one").then_some(())
    });
    call("a__update_resource", json!({"uri": "test://one"}));
    let line = gateway.client.wait_line("the update", |line| line.contains("resources/updated"));
    assert_eq!(line.matches("subscriptionId").count(), 1, "{line}");
    let update: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(update["params"]["uri"], "hangar://a/test://one");
    assert_eq!(update["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], listen.id);
    gateway.stop();
}

#[test]
fn its_health_is_asked_for_in_its_own_words() {
    let home = Home::new();
    let gateway = start(&home, &["--era", "modern"], "health_check_interval_s: 1", json!({}));
    gateway.client.text("a__echo", json!({}));
    eventually("it is probed", gateway::SOON, || {
        (asked(&home).iter().filter(|method| *method == "server/discover").count() >= 3).then_some(())
    });
    assert!(!asked(&home).contains(&"ping".to_owned()));
    assert_eq!(gateway.state("a"), "ready");
    gateway.stop();
}
