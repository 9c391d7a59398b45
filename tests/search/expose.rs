//! `server.expose`: what is listed in each mode, that it stays so, and that everything can still be called.

use crate::gateway::{Gateway, Home, UNWATCHED, Value, config, eventually, holds_for, json, ms};

pub const TRIO: [&str; 3] = ["hangar_search_tools", "hangar_tools", "hangar_call"];
const CHANGED: &str = "notifications/tools/list_changed";

pub fn server(keys: &str) -> String {
    format!("{UNWATCHED}server: {{{keys}}}\n")
}

/// The result of `tools/list` as bytes.
fn listed(gateway: &Gateway) -> String {
    let id = gateway.client.send("tools/list", json!({}));
    let number = format!("\"id\":{},", id.id);
    id.wait();
    let line = gateway.client.wait_line("the list", |line| line.contains(&number));
    line.split_once("\"result\":").unwrap().1.to_owned()
}

#[test]
fn search_lists_three_tools_and_the_same_bytes_whatever_providers_do() {
    let home = Home::new();
    let hangs = home.provider("hangs", &["--handshake", "hang"], "");
    let a = home.provider("a", &["--tools", "special"], "");
    let gateway = Gateway::with_settings(&home, &(a.clone() + &hangs), &server("expose: search, control_tools: []"));
    let before = listed(&gateway);
    assert_eq!(gateway.client.tools(), TRIO);
    // Nothing had to be started for it.
    assert_eq!((home.start_count("a"), home.start_count("hangs")), (0, 0));
    assert_eq!(gateway.client.text("a__special", json!({"n": 1.10})), "special {\"n\":1.1}");
    gateway.client.text("a__add_tool", json!({"name": "more"}));
    gateway.client.tool("a__fail", json!({"text": "x"}));
    gateway.client.start_tool("a__exit", json!({"code": 3})).wait();
    assert_eq!(listed(&gateway), before);
    holds_for("nothing is told", ms(500), || gateway.client.messages(CHANGED).is_empty());
    gateway.stop();
}

#[test]
fn what_is_not_listed_is_found_described_and_called() {
    let home = Home::new();
    let a = home.provider("a", &["--tools", "paint_fence"], "description: Garden work");
    let gateway = Gateway::with_settings(&home, &a, &server("expose: search"));
    let found = gateway.client.structured("hangar_search_tools", json!({"query": "paint the fence", "limit": 1}));
    let tool = &found["tools"][0];
    let told =
        gateway.client.structured("hangar_tools", json!({"provider": tool["provider"], "tools": [tool["tool"]]}));
    assert_eq!(told["tools"][0]["name"], "paint_fence");
    let call = json!({"provider": tool["provider"], "tool": tool["tool"], "arguments": {"colour": "red"}});
    let called = gateway.client.structured("hangar_call", json!({"calls": [call]}));
    assert_eq!(called["results"][0]["result"]["content"][0]["text"], "paint_fence {\"colour\":\"red\"}");
    // As it would be listed.
    assert_eq!(gateway.client.text(tool["name"].as_str().unwrap(), json!({})), "paint_fence {}");
    // The other tools of the gateway are not listed either, and can be called.
    assert!(gateway.client.structured("hangar_list", json!({}))["providers"].is_array());
    gateway.stop();
}

#[test]
fn the_three_need_no_leave_of_control_tools_and_the_others_do() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    for (expose, own) in [("search", &TRIO[..]), ("both", &["hangar_tools", "hangar_search_tools", "hangar_call"])] {
        let gateway = Gateway::with_settings(&home, &a, &server(&format!("expose: {expose}, control_tools: []")));
        let tools = gateway.client.tools();
        let listed: Vec<_> = tools.iter().filter(|name| name.starts_with("hangar_")).collect();
        assert_eq!(listed, own, "{expose}");
        assert_eq!(tools.contains(&"a__echo".to_owned()), expose == "both");
        gateway.client.structured("hangar_search_tools", json!({"query": "echo"}));
        assert_eq!(gateway.client.start_tool("hangar_list", json!({})).wait()["error"]["code"], -32602);
        gateway.stop();
    }
    let gateway = Gateway::with_settings(&home, &a, &server("expose: direct, control_tools: []"));
    assert!(gateway.client.tools().iter().all(|name| name.starts_with("a__")));
    assert_eq!(gateway.client.start_tool("hangar_call", json!({"calls": []})).wait()["error"]["code"], -32602);
    gateway.stop();
}

#[test]
fn both_lists_everything_and_tells_of_changes() {
    let home = Home::new();
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &server("expose: both"));
    let tools = gateway.client.tools();
    assert!(TRIO.iter().all(|name| tools.iter().filter(|tool| tool == name).count() == 1), "{tools:?}");
    assert!(tools.contains(&"a__echo".to_owned()) && tools.contains(&"hangar_list".to_owned()));
    gateway.client.text("a__add_tool", json!({"name": "more"}));
    gateway.client.wait_messages(CHANGED, 1);
    assert!(gateway.client.tools().contains(&"a__more".to_owned()));
    gateway.stop();
}

#[test]
fn a_provider_never_takes_the_name_of_one_of_the_three() {
    let home = Home::new();
    let a = home.provider("a", &["--tools", "hangar_call"], "tools: {allow: [hangar_call]}");
    let settings = "tool_prefix: never, control_tools: [], clients: [{match: other, expose: search}]";
    let gateway = Gateway::with_settings(&home, &a, &server(settings));
    // This client is offered none of the gateway's own; another one is.
    assert_eq!(gateway.client.tools(), ["a__hangar_call"]);
    assert_eq!(gateway.client.text("a__hangar_call", json!({})), "hangar_call {}");
    gateway.stop();
}

#[test]
fn a_reload_of_expose_is_told_and_takes_effect_for_clients_that_are_there() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    assert!(gateway.client.tools().len() > 30);
    let pid = gateway.client.pid_of("a");
    let reload = |keys: &str| gateway.reload_to(&config(&a, &server(keys)), json!({}));
    let report = reload("expose: search");
    assert_eq!(
        (&report["settings_updated"], &report["restart_required"]),
        (&json!(["server.expose"]), &json!([])),
        "{report}"
    );
    gateway.client.wait_messages(CHANGED, 1);
    assert_eq!(gateway.client.tools(), TRIO);
    // A change of another setting changes nothing that this client lists.
    reload("expose: search, session_idle_s: 60");
    holds_for("no second one", ms(400), || gateway.client.messages(CHANGED).len() == 1);
    reload("expose: direct");
    gateway.client.wait_messages(CHANGED, 2);
    assert!(gateway.client.tools().contains(&"a__echo".to_owned()));
    assert_eq!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn what_a_client_is_told_at_the_start_fits_what_it_lists() {
    let home = Home::new();
    let a = home.provider("a", &[], "description: Garden work");
    home.put(&config(&a, &server("expose: search")));
    let gateway = Gateway::spawn(&home);
    let said = |answer: &Value| answer["instructions"].as_str().unwrap().to_owned();
    let first = said(&gateway.client.initialize(json!({})));
    assert!(first.contains("hangar_search_tools") && first.contains("- a: Garden work"), "{first}");
    gateway.client.text("a__echo", json!({}));
    eventually("the provider is known", ms(5000), || {
        gateway.client.structured("hangar_tools", json!({"provider": "a"}))["tools"][0].is_object().then_some(())
    });
    gateway.stop();
    let gateway = Gateway::spawn(&home);
    // Known now, and still the same: what providers say themselves is told by `hangar_tools`.
    assert_eq!(said(&gateway.client.initialize(json!({}))), first);
    gateway.stop();
    home.put(&config(&a, UNWATCHED));
    let gateway = Gateway::spawn(&home);
    let direct = said(&gateway.client.initialize(json!({})));
    assert!(direct.contains("<provider>__<tool>") && direct.contains("a test provider"), "{direct}");
    gateway.stop();
}

#[test]
fn tools_of_an_instance_of_ones_own_are_found_and_their_changes_not_told() {
    let home = Home::new();
    let a = home.provider("a", &[], "sharing: session");
    let gateway = Gateway::with_settings(&home, &a, &server("expose: search"));
    gateway.client.text("a__add_tool", json!({"name": "brandNewGadget"}));
    eventually("it is found", ms(5000), || {
        let found = gateway.client.structured("hangar_search_tools", json!({"query": "gadget"}));
        (found["tools"][0]["tool"] == "brandNewGadget").then_some(())
    });
    assert_eq!(gateway.client.tools(), TRIO);
    gateway.client.text("a__add_tool", json!({"name": "another"}));
    holds_for("nothing is told", ms(500), || gateway.client.messages(CHANGED).is_empty());
    gateway.stop();
}
