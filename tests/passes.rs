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
    // A task of the client's own, under the id that it gave.
    let of_task = gateway.client.start_tool("a__ask", json!({"method": "tasks/get", "params": {"taskId": "mine"}}));
    let about = question(&gateway, "tasks/get");
    assert_eq!(about["params"], json!({"taskId": "mine"}));
    gateway.client.raw(&json!({"jsonrpc": "2.0", "id": about["id"], "result": {"taskId": "mine"}}).to_string());
    assert_eq!(of_task.wait()["result"]["content"][0]["text"], r#"{"taskId":"mine"}"#);
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

#[test]
fn of_two_questions_at_once_the_one_that_the_client_can_be_asked_keeps_the_call_alive() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let call = |first: &str, has: Value, more: Value| {
        let mut call = params(json!({"name": "a__ask_both", "arguments": {"method": first}}), has);
        call.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        Exchange::start(address, "tools/call", &call).answer().1
    };
    for first in ["sampling/createMessage", "elicitation/create"].repeat(10) {
        let has = json!({"elicitation": {}});
        let asked = call(first, has.clone(), json!({}));
        let questions = asked["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("{first}: {asked}"));
        let methods: Vec<_> = questions.iter().map(|(key, question)| (key, &question["method"])).collect();
        let [(key, Value::String(_))] = methods[..] else { panic!("{first}: {asked}") };
        assert_eq!(methods[0].1, "elicitation/create", "{first}: {asked}");
        // At once: quicker than the gateway says no to the other question.
        let responses = json!({key: {"action": "decline"}});
        let done =
            call(first, has, json!({"requestState": asked["result"]["requestState"], "inputResponses": responses}));
        let text = done["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{first}: {done}"));
        let told: Value = serde_json::from_str(text).unwrap();
        assert!(told["elicitation/create"].as_str().unwrap().contains("decline"), "{told}");
        assert!(told["sampling/createMessage"].as_str().unwrap().contains("not_routed"), "{told}");
    }
    // Neither: the call has an error of its own.
    let refused = call("", json!({}), json!({}));
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
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

fn hello(gateway: &Gateway) -> Value {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    gateway.client.request("initialize", params)["result"].take()
}

/// Providers of both eras have been seen: another gateway on the same state.
fn seen_before(home: &Arc<Home>) -> Gateway {
    let providers =
        [home.provider("a", &["--tasks"], ""), home.provider("b", &["--tasks", "--era", "modern"], "")].concat();
    let gateway = Gateway::start(home, &providers);
    gateway.client.tools();
    gateway.stop();
    Gateway::spawn(home)
}

#[test]
fn what_upstreams_declare_is_shown_to_clients_of_each_era_as_it_is() {
    let home = Home::new();
    let gateway = seen_before(&home);
    let legacy = hello(&gateway)["capabilities"].take();
    assert_eq!(legacy["tools"], json!({"listChanged": true}), "{legacy}");
    assert_eq!(legacy["tasks"]["requests"], json!({"tools": {"call": {}}}));
    let ui = json!({"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}});
    assert_eq!(legacy["extensions"], ui, "{legacy}");
    assert_eq!(legacy["experimental"], json!({"a": {}, "b": {}}), "of both");
    assert_eq!(legacy["x-vendor"], json!({"level": 1.5, "of": "a"}), "the first counts");
    let line = gateway.client.wait_line("the answer", |line| line.contains("protocolVersion"));
    assert!(line.contains(r#""level":1.5"#), "{line}");
    let modern = gateway.client.request("server/discover", params(json!({}), json!({})))["result"].take();
    let capabilities = &modern["capabilities"];
    assert!(capabilities.get("tasks").is_none(), "{capabilities}");
    assert_eq!(capabilities["extensions"]["io.modelcontextprotocol/tasks"], json!({}));
    assert_eq!(capabilities["extensions"]["io.modelcontextprotocol/ui"], ui["io.modelcontextprotocol/ui"]);
    assert_eq!(modern["resultType"], "complete");
    gateway.stop();
}

fn list(gateway: &Gateway, method: &str) -> (u64, String) {
    let list = gateway.client.request(method, params(json!({}), json!({})))["result"].take();
    (list["ttlMs"].as_u64().unwrap_or_else(|| panic!("{list}")), list["cacheScope"].as_str().unwrap().to_owned())
}

#[test]
fn a_merged_list_may_be_kept_as_long_as_the_least_of_its_parts_which_grow_old() {
    let home = Home::new();
    let modern = |name: &str, ttl: &str, scope: &str, keys: &str| {
        home.provider(name, &["--era", "modern", "--ttl-ms", ttl, "--cache-scope", scope], keys)
    };
    let (a, b) = (modern("a", "60000", "public", ""), modern("b", "20000", "public", ""));
    let gateway = Gateway::start(&home, &[a.clone(), b.clone()].concat());
    let (first, scope) = list(&gateway, "tools/list");
    assert!((10_000..=20_000).contains(&first) && scope == "public", "{first} {scope}");
    std::thread::sleep(ms(1100));
    let (later, _) = list(&gateway, "tools/list");
    assert!(later + 1000 <= first, "the same list a second later promises a second less: {first}, {later}");
    let read = params(json!({"uri": "hangar://a/test://one"}), json!({}));
    let read = gateway.client.request("resources/read", read)["result"].take();
    assert_eq!((&read["ttlMs"], &read["cacheScope"]), (&json!(60_000), &json!("public")), "as its upstream says");
    // Private where one part is.
    gateway.reload(&[a.clone(), modern("b", "20000", "private", "")].concat());
    gateway.client.tools();
    let (ttl, scope) = list(&gateway, "prompts/list");
    assert!((1..=20_000).contains(&ttl) && scope == "private", "{ttl} {scope}");
    // Private where it is filtered; only tools are.
    let filtered = modern("a", "60000", "public", "tools: {deny: [fail]}");
    gateway.reload(&filtered);
    // What is remembered of it promises nothing until it is asked again.
    assert_eq!(list(&gateway, "prompts/list"), (0, "private".into()));
    gateway.client.text("a__pid", json!({}));
    assert_eq!((list(&gateway, "tools/list").1, list(&gateway, "prompts/list").1), ("private".into(), "public".into()));
    // Not at all where one part does not say, nor what an earlier run has learned.
    gateway.reload(&[a.clone(), home.provider("c", &[], "")].concat());
    gateway.client.tools();
    assert_eq!(list(&gateway, "tools/list"), (0, "private".into()));
    gateway.stop();
    let gateway = Gateway::start(&home, &a);
    assert_eq!(list(&gateway, "tools/list"), (0, "private".into()));
    gateway.client.text("a__pid", json!({}));
    assert!(list(&gateway, "tools/list").0 > 0);
    gateway.stop();
}

#[test]
fn a_list_over_its_time_of_an_upstream_that_tells_of_no_changes_is_fetched_again() {
    let home = Home::new();
    let gateway = started(&home, &["--era", "modern", "--no-list-changed", "--ttl-ms", "100"]);
    assert!(!gateway.client.tools().contains(&"a__quiet".to_owned()));
    gateway.client.tool("a__add_tool", json!({"name": "quiet"}));
    // Asked again at the earliest after 5 s.
    eventually("it is listed", ms(15_000), || {
        std::thread::sleep(ms(200));
        gateway.client.tools().contains(&"a__quiet".to_owned()).then_some(())
    });
    gateway.stop();
}

#[test]
fn trace_context_and_every_unknown_key_pass_in_both_eras_both_ways() {
    let own = r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=1,b=2","baggage":"u=\u00e9","com.example/n":1.50"#;
    for era in ERAS {
        let home = Home::new();
        let gateway = started(&home, era);
        let tool = if era.is_empty() { "a__call" } else { "a__meta" };
        gateway.client.raw(&format!(
            r#"{{"jsonrpc":"2.0","id":"t","method":"tools/call","params":{{"name":"{tool}","x":0.10,"_meta":{{{own}}}}}}}"#
        ));
        let answer = gateway.client.wait_line("the answer", |line| line.contains(r#""id":"t""#));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let seen = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(seen.contains(own) && seen.contains(r#""x":0.10"#), "{era:?}: {seen}");
        // What the upstream says of itself: icons, titles, `_meta`, and what nobody knows.
        let said =
            r#"{"content":[{"type":"text","text":"x","_meta":{"k":1.50}}],"_meta":{"traceparent":"00-1"},"zz":[1E5]}"#;
        gateway.client.raw(&format!(
            r#"{{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{{"name":"a__answer","arguments":{said}}}}}"#
        ));
        let line = gateway.client.wait_line("the answer", |line| line.contains(r#""id":"r""#));
        assert!(line.contains(&said[1..]), "{line}");
        let listed = gateway.client.request("tools/list", json!({}))["result"].take();
        let echo = listed["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == "a__echo").unwrap();
        assert_eq!(echo["x-unknown-field"], json!({"kept": 0.1}));
        assert_eq!(echo["title"], "An echo");
        assert_eq!(echo["icons"], json!([{"src": "data:image/png;base64,AA==", "sizes": ["1x1"], "x": 1.5}]));
        assert_eq!(echo["_meta"], json!({"com.example/k": 1.5}));
        // A notification of the upstream's own.
        let params = json!({"level": 1.5, "_meta": {"traceparent": "00-2"}});
        gateway.client.tool("a__say", json!({"method": "notifications/vendor", "params": params}));
        assert_eq!(question(&gateway, "notifications/vendor")["params"], params);
        gateway.stop();
    }
}

#[test]
fn an_elicitation_that_ends_elsewhere_is_told_to_its_client_after_the_call() {
    let home = Home::new();
    let gateway = started(&home, &[]);
    let refused = gateway.client.request("tools/call", json!({"name": "a__link", "arguments": {}}));
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["data"]["elicitations"][0]["elicitationId"]),
        (&json!(-32042), &json!("e-1"))
    );
    let ended = question(&gateway, "notifications/elicitation/complete");
    assert_eq!(ended["params"], json!({"elicitationId": "e-1"}), "no call is in flight any more");
    gateway.stop();
}
