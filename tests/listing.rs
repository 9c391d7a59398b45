//! What clients see of many providers: names, filters, collisions, pages, and everything that is no tool. CONTRACT section 4.

#[path = "support/gateway.rs"]
mod gateway;

use std::collections::BTreeSet;

use gateway::{Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json};

const NEVER: &str = "config_reload: {enabled: false}\nserver: {tool_prefix: never}\n";

fn names(list: &Value, field: &str, key: &str) -> Vec<String> {
    list[field].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tools_are_listed_by_provider_in_a_stable_order_own_tools_first() {
    let home = Home::new();
    let providers: String = ["zeta", "alpha", "mid"].iter().map(|name| home.provider(name, &[], "")).collect();
    let gateway = Gateway::start(&home, &providers);
    let tools = gateway.client.tools();
    let prefixes: Vec<_> = tools.iter().map(|name| name.split("__").next().unwrap()).collect();
    let mut order = prefixes.clone();
    order.dedup();
    let own = tools.iter().take_while(|name| name.starts_with("hangar_")).count();
    assert!(own >= 13);
    assert_eq!(order[own..], ["alpha", "mid", "zeta"]);
    assert_eq!(tools, gateway.client.tools());
    assert_eq!(tools.iter().collect::<BTreeSet<_>>().len(), tools.len());
    gateway.stop();
}

#[test]
fn all_500_tools_of_a_paging_provider_are_listed_in_its_order() {
    let home = Home::new();
    let many: Vec<String> = (0..500).map(|n| format!("tool{n:03}")).collect();
    let gateway = Gateway::start(&home, &home.provider("a", &["--tools", &many.join(","), "--page-size", "7"], ""));
    let listed = gateway.client.tools();
    let extra: Vec<_> = listed.iter().filter_map(|name| name.strip_prefix("a__tool")).collect();
    assert_eq!(extra, (0..500).map(|n| format!("{n:03}")).collect::<Vec<_>>());
    assert_eq!(gateway.client.text("a__tool499", json!({"x": 1})), "tool499 {\"x\":1}");
    gateway.stop();
}

#[test]
fn allow_and_deny_hold_for_the_list_the_flat_call_and_hangar_call() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "tools: {allow: ['e*', pid], deny: [exit, 'env']}"));
    let listed: Vec<_> = gateway.client.tools().into_iter().filter(|name| name.starts_with("a__")).collect();
    assert_eq!(listed, ["a__echo", "a__pid", "a__elicit"]);
    assert_eq!(
        names(&gateway.client.structured("hangar_tools", json!({"provider": "a"})), "tools", "name"),
        ["echo", "pid", "elicit"]
    );
    gateway.client.text("a__echo", json!({}));
    for denied in ["exit", "env", "sleep"] {
        assert_eq!(gateway.client.start_tool(&format!("a__{denied}"), json!({})).wait()["error"]["code"], -32602);
        let batch = gateway.client.tool("hangar_call", json!({"calls": [{"provider": "a", "tool": denied}]}));
        assert_eq!(batch["isError"], true, "{batch}");
        let found = gateway.client.structured("hangar_search_tools", json!({"query": denied}));
        assert!(!names(&found, "tools", "tool").contains(&denied.to_owned()), "{found}");
    }
    let pid = gateway.client.pid_of("a");
    let report = gateway.reload(&home.provider("a", &[], "tools: {deny: [echo]}"));
    assert_eq!(report["changed_fields"]["a"], json!(["tools"]));
    gateway.client.start_tool("a__echo", json!({})).error();
    gateway.client.text("a__env", json!({"name": "HOME"}));
    assert_ne!(gateway.client.pid_of("a"), pid);
    assert_eq!(home.assert_never_two("a"), 2);
    gateway.stop();
}

#[test]
fn a_name_that_is_too_long_is_listed_with_64_characters_and_stays_callable_over_a_reload() {
    let home = Home::new();
    let (one, two) = (format!("{}_one", "long".repeat(16)), format!("{}_two", "long".repeat(16)));
    let spec = |version: &str| home.provider("a", &["--version", version, "--tools", &format!("{one},{two}")], "");
    let gateway = Gateway::start(&home, &spec("1"));
    let tools = gateway.client.tools();
    assert!(tools.iter().all(|name| name.len() <= 64));
    let long: Vec<_> = tools.into_iter().filter(|name| name.starts_with("a__long")).collect();
    assert_eq!(long.len(), 2);
    assert_ne!(long[0], long[1]);
    assert_eq!(gateway.client.text(&long[0], json!({})), format!("{one} {{}}"));
    // The updated provider's catalogue is not known; a client that has not listed again still calls what it knows.
    gateway.reload(&spec("2"));
    assert_eq!(gateway.client.text(&long[1], json!({})), format!("{two} {{}}"));
    assert_eq!(gateway.client.tools().iter().filter(|name| long.contains(name)).count(), 2);
    gateway.stop();
}

#[test]
fn without_prefix_names_are_the_upstreams_own_and_collisions_are_listed_with_it_and_reported() {
    let home = Home::new();
    let a = home.provider("a", &["--tools", "only_a"], "tools: {allow: [echo, only_a]}");
    let b = home.provider("b", &["--tools", "only_b"], "tools: {allow: [echo, only_b]}");
    let gateway = Gateway::with_settings(&home, &(a + &b), NEVER);
    let tools = gateway.client.tools();
    let foreign: Vec<_> = tools.iter().filter(|name| !name.starts_with("hangar_")).collect();
    assert_eq!(foreign, ["a__echo", "only_a", "b__echo", "only_b"]);
    for name in foreign {
        gateway.client.text(name, json!({}));
    }
    let status = gateway.client.structured("hangar_status", json!({}));
    let collision =
        status["collisions"].as_array().unwrap().iter().find(|c| c["name"] == "echo").expect("it is reported");
    assert_eq!((&collision["list"], &collision["providers"]), (&json!("tools"), &json!(["a", "b"])));
    gateway.wait_for_log("name_collision");
    let one = config(&home.provider("a", &["--tools", "only_a"], "tools: {allow: [echo, only_a]}"), NEVER);
    gateway.reload_to(&one, json!({}));
    let tools = gateway.client.tools();
    assert!(tools.contains(&"echo".to_owned()) && !tools.contains(&"a__echo".to_owned()));
    gateway.stop();
}

#[test]
fn an_upstream_never_takes_the_name_of_a_gateway_tool() {
    let home = Home::new();
    let a = home.provider("a", &["--tools", "hangar_status"], "tools: {allow: [hangar_status]}");
    let gateway = Gateway::with_settings(&home, &a, NEVER);
    let tools = gateway.client.tools();
    assert_eq!(tools.iter().filter(|name| *name == "hangar_status").count(), 1);
    assert!(tools.contains(&"a__hangar_status".to_owned()));
    assert!(gateway.client.structured("hangar_status", json!({}))["generation"].is_u64());
    assert_eq!(gateway.client.text("a__hangar_status", json!({})), "hangar_status {}");
    gateway.stop();
}

#[test]
fn a_call_before_any_listing_finds_its_provider_also_without_prefix() {
    let home = Home::new();
    let gateway = Gateway::with_settings(&home, &home.provider("a", &["--tools", "special"], ""), NEVER);
    assert_eq!(gateway.client.text("special", json!({})), "special {}");
    gateway.stop();
}

#[test]
fn the_prefix_rule_changes_by_reload_without_touching_a_provider() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    let pid = gateway.client.pid_of("a");
    gateway.client.tools();
    let report = gateway.reload_to(&config(&a, NEVER), json!({}));
    assert_eq!((&report["providers_unchanged"], &report["restart_required"]), (&json!(["a"]), &json!([])));
    gateway.client.wait_messages("notifications/tools/list_changed", 1);
    assert_eq!(gateway.client.text("pid", json!({})), pid.to_string());
    assert!(gateway.client.tools().contains(&"echo".to_owned()));
    gateway.stop();
}

#[test]
fn control_tools_that_are_not_wanted_are_neither_listed_nor_callable() {
    let home = Home::new();
    let settings = format!("{UNWATCHED}server: {{control_tools: [hangar_list, 'hangar_s*']}}\n");
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &settings);
    let own: Vec<_> = gateway.client.tools().into_iter().filter(|name| name.starts_with("hangar_")).collect();
    assert_eq!(
        own,
        ["hangar_list", "hangar_status", "hangar_search_tools", "hangar_start", "hangar_stop", "hangar_server_info"]
    );
    assert_eq!(gateway.client.start_tool("hangar_reload_config", json!({})).wait()["error"]["code"], -32602);
    gateway.stop();
}

#[test]
fn tools_that_an_upstream_adds_or_takes_away_are_told_and_listed() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.client.tools();
    gateway.client.tool("a__add_tool", json!({"name": "grown"}));
    gateway.client.wait_messages("notifications/tools/list_changed", 1);
    assert!(gateway.client.tools().contains(&"a__grown".to_owned()));
    gateway.client.tool("a__remove_tool", json!({"name": "grown"}));
    gateway.client.wait_messages("notifications/tools/list_changed", 2);
    assert!(!gateway.client.tools().contains(&"a__grown".to_owned()));
    assert!(gateway.client.messages("notifications/prompts/list_changed").is_empty());
    gateway.stop();
}

#[test]
fn prompts_pass_through_under_their_providers_name() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &(home.provider("a", &[], "") + &home.provider("b", &[], "")));
    let prompts = gateway.client.list("prompts/list");
    assert_eq!(names(&prompts, "prompts", "name"), ["a__greet", "b__greet"]);
    assert_eq!(prompts["prompts"][0]["arguments"], json!([{"name": "who", "required": true}]));
    let got = gateway.client.request("prompts/get", json!({"name": "b__greet", "arguments": {"who": "Ada"}}));
    assert_eq!(got["result"]["messages"][0]["content"]["text"], "Hello, Ada!");
    let unknown = gateway.client.request("prompts/get", json!({"name": "c__greet"}));
    assert_eq!(unknown["error"]["code"], -32602);
    gateway.stop();
}

#[test]
fn resources_and_templates_are_read_under_the_gateways_uri_and_say_so() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &(home.provider("a", &[], "") + &home.provider("b", &[], "")));
    let listed = names(&gateway.client.list("resources/list"), "resources", "uri");
    assert_eq!(
        listed,
        ["hangar://a/test://one", "hangar://a/test://two", "hangar://b/test://one", "hangar://b/test://two"]
    );
    let templates = names(&gateway.client.list("resources/templates/list"), "resourceTemplates", "uriTemplate");
    assert_eq!(templates, ["hangar://a/test://items/{id}", "hangar://b/test://items/{id}"]);
    for (uri, text) in [("hangar://b/test://one", "the first"), ("hangar://a/test://items/42", "item 42")] {
        let read = gateway.client.request("resources/read", json!({"uri": uri}));
        assert_eq!(read["result"]["contents"][0]["text"], text);
        assert_eq!(read["result"]["contents"][0]["uri"], uri);
    }
    let unknown = gateway.client.request("resources/read", json!({"uri": "hangar://c/test://one"}));
    assert_eq!(
        (&unknown["error"]["code"], &unknown["error"]["data"]["uri"]),
        (&json!(-32002), &json!("hangar://c/test://one"))
    );
    let of_upstream = gateway.client.request("resources/read", json!({"uri": "hangar://a/test://three"}));
    assert_eq!(of_upstream["error"]["code"], -32002);
    gateway.stop();
}

#[test]
fn completion_goes_to_the_provider_of_the_prompt_or_template() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    for reference in [
        json!({"type": "ref/prompt", "name": "a__greet"}),
        json!({"type": "ref/resource", "uri": "hangar://a/test://items/{id}"}),
    ] {
        let params = json!({"ref": reference, "argument": {"name": "who", "value": "b"}});
        let answer = gateway.client.request("completion/complete", params);
        assert_eq!(answer["result"]["completion"]["values"], json!(["bob", "bert"]), "{answer}");
    }
    gateway.stop();
}

#[test]
fn updates_of_a_subscribed_resource_come_under_the_uri_that_was_subscribed() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &(home.provider("a", &[], "") + &home.provider("b", &[], "")));
    let uri = "hangar://a/test://one";
    assert_eq!(gateway.client.request("resources/subscribe", json!({"uri": uri}))["result"], json!({}));
    gateway.client.tool("b__update_resource", json!({"uri": "test://one"}));
    gateway.client.tool("a__update_resource", json!({"uri": "test://two"}));
    gateway.client.tool("a__update_resource", json!({"uri": "test://one"}));
    let updates = gateway.client.wait_messages("notifications/resources/updated", 1);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0]["params"]["uri"], uri);
    assert_eq!(gateway.client.request("resources/unsubscribe", json!({"uri": uri}))["result"], json!({}));
    gateway.client.tool("a__update_resource", json!({"uri": "test://one"}));
    gateway.client.text("a__echo", json!({}));
    assert_eq!(gateway.client.messages("notifications/resources/updated").len(), 1);
    gateway.stop();
}

#[test]
fn a_tools_own_uri_in_an_answer_can_be_read_as_it_stands_when_one_provider_has_it() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let read = gateway.client.request("resources/read", json!({"uri": "test://one"}));
    assert_eq!(read["result"]["contents"][0]["text"], "the first", "{read}");
    gateway.stop();
}

#[test]
fn a_listing_starts_each_unknown_provider_once_however_many_ask() {
    let home = Home::new();
    let providers: String =
        ["a", "b", "c"].iter().map(|name| home.provider(name, &["--start-delay", "200"], "")).collect();
    let gateway = Gateway::start(&home, &providers);
    let lists: Vec<_> = (0..8).map(|_| gateway.client.send("tools/list", json!({}))).collect();
    for list in lists {
        assert!(list.wait()["result"]["tools"].as_array().unwrap().len() > 80);
    }
    for name in ["a", "b", "c"] {
        assert_eq!(home.start_count(name), 1);
    }
    gateway.stop();
}

#[test]
fn a_provider_that_does_not_start_is_missing_from_the_list_and_named_in_the_status() {
    let home = Home::new();
    let bad = home.provider("bad", &["--handshake", "exit"], "");
    let gateway = Gateway::start(&home, &(bad + &home.provider("good", &[], "")));
    let tools = gateway.client.tools();
    assert!(tools.contains(&"good__echo".to_owned()) && !tools.iter().any(|name| name.starts_with("bad__")));
    let status = gateway.client.structured("hangar_status", json!({}));
    assert_eq!((&status["status"], &status["not_listed"]), (&json!("degraded"), &json!(["bad"])));
    eventually("it is told in the log", SOON, || gateway.log().contains("listed_without_provider").then_some(()));
    gateway.stop();
}

#[test]
fn h17_a_batch_that_failed_in_part_is_an_error_with_every_result_in_order() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let call = |tool: &str, arguments: Value| json!({"provider": "a", "tool": tool, "arguments": arguments});
    let calls = [
        call("echo", json!({"n": 1})),
        call("fail", json!({"text": "no"})),
        call("rpc_error", json!({"code": -7, "message": "bad"})),
        json!({"provider": "x", "tool": "y"}),
    ];
    let result = gateway.client.tool("hangar_call", json!({"calls": calls}));
    assert_eq!(result["isError"], true);
    let report = &result["structuredContent"];
    assert_eq!((&report["succeeded"], &report["failed"]), (&json!(1), &json!(3)));
    let results = report["results"].as_array().unwrap();
    let flags: Vec<_> =
        results.iter().map(|r| (r["index"].as_u64().unwrap(), r["success"].as_bool().unwrap())).collect();
    assert_eq!(flags, [(0, true), (1, false), (2, false), (3, false)]);
    assert_eq!(results[0]["result"]["content"][0]["text"], "{\"n\":1}");
    assert_eq!(results[2]["error"]["message"], "bad");
    assert!(results[3]["error"]["message"].as_str().unwrap().contains("\"x\""));
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(&text, report);
    gateway.stop();
}

#[test]
fn h18_a_hundred_calls_in_one_batch_are_not_too_many() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let calls: Vec<_> = (0..100).map(|n| json!({"provider": "a", "tool": "echo", "arguments": {"n": n}})).collect();
    let report = gateway.client.structured("hangar_call", json!({"calls": calls, "max_concurrency": 50}));
    assert_eq!(report["succeeded"], 100);
    assert_eq!(report["results"][99]["result"]["content"][0]["text"], "{\"n\":99}");
    gateway.stop();
}

#[test]
fn a_subscription_and_the_log_level_outlive_the_instance_they_were_given_to() {
    let home = Home::new();
    let spec = |version: &str| home.provider("a", &["--version", version], "");
    let gateway = Gateway::start(&home, &spec("1"));
    gateway.client.request("resources/subscribe", json!({"uri": "hangar://a/test://one"}));
    gateway.client.request("logging/setLevel", json!({"level": "error"}));
    assert_eq!(gateway.client.text("a__subscriptions", json!({})), r#"["test://one"]"#);
    gateway.reload(&spec("2"));
    eventually("the new instance knows the subscription", SOON, || {
        (gateway.client.text("a__subscriptions", json!({})) == r#"["test://one"]"#).then_some(())
    });
    eventually("and the level", SOON, || (gateway.client.text("a__log_level", json!({})) == "error").then_some(()));
    gateway.stop();
}
