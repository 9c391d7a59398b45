//! Calls that get no answer: which of them move to another member, and what becomes of the members.

use std::thread::sleep;

use crate::{gateway::Signal, gateway::signal, remote_process::Remote, rig::*};

const BY_PRIORITY: &str = "strategy: priority, members: [{id: a, priority: 1}, {id: b, priority: 2}]";

#[test]
fn a_call_that_was_not_sent_moves_on() {
    let home = Home::new();
    let providers = members(&home, &[("a", &["--handshake", "exit:7"], ""), ("b", &[], "")]);
    let gateway = Gateway::start(&home, &(providers + &workers("members: [{id: a}, {id: b}]")));
    for _ in 0..4 {
        assert_eq!(who(&gateway), "b");
    }
    assert_eq!((sent(&home, "a"), sent(&home, "b")), (0, 4));
    let a = member(&gateway, "a");
    assert_eq!(a["passed_on"], a["calls"], "{a}");
    assert!(matches!(a["health"].as_str(), Some("waiting" | "unhealthy")), "{a}");
    assert_eq!(group(&gateway)["failed"], 0, "the group answered every call");
    gateway.stop();
}

#[test]
fn a_call_that_was_sent_is_never_repeated() {
    let home = Home::new();
    let providers = members(&home, &[("a", &[], "call_timeout_s: 5"), ("b", &[], "call_timeout_s: 5")]);
    let gateway = Gateway::start(&home, &(providers + &workers(BY_PRIORITY)));
    assert_eq!(who(&gateway), "a");
    let before = (sent(&home, "a"), sent(&home, "b"));
    let gone = error(&gateway, "exit", json!({"code": 5}));
    assert!(gone["message"].as_str().unwrap().contains("\"a\" exited with code 5"), "{gone}");
    assert_eq!((sent(&home, "a"), sent(&home, "b")), (before.0 + 1, before.1));
    assert_eq!(who(&gateway), "a", "one failure: it is started again");
    let late = error(&gateway, "sleep", json!({"ms": 9000}));
    assert_eq!(late["data"]["error"], "timeout", "{late}");
    assert_eq!((sent(&home, "a"), sent(&home, "b")), (before.0 + 3, before.1));
    let a = member(&gateway, "a");
    assert_eq!((&a["calls"], &a["failed"], &a["passed_on"]), (&json!(4), &json!(2), &json!(0)), "{a}");
    gateway.stop();
}

#[test]
fn errors_of_tools_are_answers() {
    let home = Home::new();
    let gateway = start(&home, &["a"], "members: [{id: a}], health: {unhealthy_threshold: 1}");
    for _ in 0..3 {
        assert_eq!(gateway.client.tool("workers__fail", json!({"text": "no"}))["isError"], true);
        assert_eq!(error(&gateway, "rpc_error", json!({"code": -32000, "message": "x"}))["code"], -32000);
    }
    assert_eq!(member(&gateway, "a")["health"], "healthy");
    gateway.stop();
}

#[test]
fn a_members_breaker_opens_tries_and_closes() {
    let home = Home::new();
    let rules = "health: {unhealthy_threshold: 2, healthy_threshold: 2}, circuit_breaker: {reset_timeout_s: 4}";
    let gateway = start(&home, &["a", "b"], &format!("{BY_PRIORITY}, {rules}"));
    let fail = || assert_eq!(error(&gateway, "exit", json!({"code": 5}))["data"]["provider"], "a");
    let breaker = || member(&gateway, "a")["circuit_breaker"].as_str().unwrap().to_owned();
    fail();
    assert_eq!(who(&gateway), "a", "an answer in between");
    fail();
    assert_eq!(breaker(), "closed");
    fail();
    assert_eq!((breaker().as_str(), who(&gateway).as_str()), ("open", "b"));
    let a = member(&gateway, "a");
    assert_eq!((&a["health"], &a["consecutive_failures"]), (&json!("unhealthy"), &json!(2)), "{a}");
    assert_eq!(group(&gateway)["state"], "degraded");
    let half_open = || eventually("the breaker is half open", SOON, || (breaker() == "half_open").then_some(()));
    half_open();
    fail();
    assert_eq!((breaker().as_str(), who(&gateway).as_str()), ("open", "b"), "the trial failed: the time begins anew");
    half_open();
    assert_eq!(who(&gateway), "a", "the trial call");
    assert_eq!(breaker(), "half_open", "one of two");
    assert_eq!(who(&gateway), "a");
    assert_eq!((breaker().as_str(), who(&gateway).as_str()), ("closed", "a"));
    for step in ["from=\"closed\" to=\"open\"", "from=\"open\" to=\"half_open\"", "from=\"half_open\" to=\"closed\""] {
        let told = |line: &str| line.contains("group_breaker_changed") && line.contains(step);
        eventually(step, SOON, || gateway.log().lines().any(told).then_some(()));
    }
    gateway.stop();
}

#[test]
fn only_one_call_tries_a_half_open_member() {
    let home = Home::new();
    let rules = "health: {unhealthy_threshold: 1}, circuit_breaker: {reset_timeout_s: 0.3}";
    let gateway = start(&home, &["a", "b"], &format!("{BY_PRIORITY}, {rules}"));
    error(&gateway, "exit", json!({}));
    sleep(ms(350));
    let trial = gateway.client.start_tool("workers__sleep", json!({"ms": 6000}));
    wait_in_flight(&gateway, "a", 1);
    assert_eq!((turns(&gateway, 3).as_str(), member(&gateway, "a")["health"].as_str()), ("bbb", Some("trial")));
    assert_eq!(trial.wait()["result"]["content"][0]["text"], "slept");
    assert_eq!(who(&gateway), "a");
    gateway.stop();
}

#[test]
fn with_too_few_healthy_members_calls_are_refused_with_their_states() {
    let home = Home::new();
    let providers =
        members(&home, &[("a", &["--handshake", "exit:7"], ""), ("b", &[], ""), ("c", &[], "enabled: false")]);
    let rules = "min_healthy: 2, health: {unhealthy_threshold: 1}, strategy: priority";
    let list = "members: [{id: a, priority: 0}, {id: b}, {id: c}]";
    let gateway = Gateway::start(&home, &(providers + &workers(&format!("{rules}, {list}"))));
    assert_eq!(who(&gateway), "b", "a is given the benefit of the doubt once");
    let error = error(&gateway, "echo", json!({}));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("group \"workers\" has 1 of 3 members healthy and needs 2 (min_healthy)"), "{message}");
    assert!(
        message.contains("a is cold, unhealthy (again in ") && message.contains("it exited with code 7"),
        "{message}"
    );
    assert!(message.contains("b is ready, healthy; c is disabled"), "{message}");
    let data = &error["data"];
    assert_eq!((&data["error"], &data["reason"]), (&json!("group_unavailable"), &json!("too_few_healthy")), "{data}");
    assert_eq!((&data["group"], &data["fault"]), (&json!("workers"), &json!("upstream")));
    let states: Vec<_> = data["members"].as_array().unwrap().iter().map(|m| (&m["id"], &m["health"])).collect();
    assert_eq!(json!(states), json!([["a", "unhealthy"], ["b", "healthy"], ["c", "disabled"]]));
    assert!(data["retry_after_ms"].as_u64().unwrap() > 0);
    let status = gateway.client.structured("hangar_status", json!({}));
    assert!(status["reasons"].as_array().unwrap().iter().any(|r| r["group"] == "workers"), "{status}");
    assert_eq!(
        (group(&gateway)["state"].as_str(), group(&gateway)["refused"].as_u64()),
        (Some("unavailable"), Some(1))
    );
    gateway.stop();
}

#[test]
fn when_no_member_takes_a_call_the_error_tells_what_each_said() {
    let home = Home::new();
    let providers =
        members(&home, &[("a", &["--handshake", "exit:7"], ""), ("b", &["--handshake", "exit:8"], ""), ("c", &[], "")]);
    let gateway = Gateway::start(&home, &(providers + &workers("members: [{id: a}, {id: b}]")));
    let error = error(&gateway, "echo", json!({}));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("has no further member to try; the call was sent to none"), "{message}");
    assert!(message.contains("exited with code 7") && message.contains("exited with code 8"), "{message}");
    assert_eq!(error["data"]["reason"], "no_member", "{error}");
    assert_eq!(gateway.client.text("c__echo", json!({})), "{}", "nobody else is concerned");
    gateway.stop();
}

#[test]
fn the_groups_own_breaker_opens_after_calls_without_any_answer() {
    let home = Home::new();
    let rules = "health: {unhealthy_threshold: 100}, circuit_breaker: {failure_threshold: 3, reset_timeout_s: 5}";
    let gateway = start(&home, &["a", "b"], &format!("members: [{{id: a}}, {{id: b}}], {rules}"));
    let before = gateway.client.tools().len();
    for _ in 0..3 {
        assert_eq!(error(&gateway, "exit", json!({}))["data"]["error"], "provider_exited");
    }
    let asked = sent(&home, "a") + sent(&home, "b");
    let refused = error(&gateway, "echo", json!({}));
    assert_eq!(refused["data"]["reason"], "circuit_open", "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("takes no calls for another") && message.contains("3 in a row got no answer"),
        "{message}"
    );
    assert!(refused["data"]["retry_after_ms"].as_u64().unwrap() <= 5000, "{refused}");
    assert_eq!(sent(&home, "a") + sent(&home, "b"), asked, "nobody was bothered");
    assert_eq!(gateway.client.text("b__echo", json!({})), "{}", "the members themselves are not closed to others");
    eventually("it is half open", SOON, || (group(&gateway)["circuit_breaker"] == "half_open").then_some(()));
    assert_eq!(gateway.client.text("workers__echo", json!({})), "{}");
    assert_eq!(group(&gateway)["circuit_breaker"], "closed");
    assert_eq!(gateway.client.tools().len(), before);
    gateway.stop();
}

#[test]
fn a_member_that_dies_has_failed_once_however_many_calls_it_takes_along() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], BY_PRIORITY);
    assert_eq!(who(&gateway), "a");
    let calls: Vec<_> = (0..5).map(|_| gateway.client.start_tool("workers__sleep", json!({"ms": 5000}))).collect();
    wait_in_flight(&gateway, "a", 5);
    signal(gateway.client.pid_of("a"), Signal::KILL);
    for call in calls {
        let error = call.error();
        assert!(error.contains("\"a\"") && error.contains("while the call was in flight"), "{error}");
    }
    let a = member(&gateway, "a");
    assert_eq!((&a["failed"], &a["consecutive_failures"]), (&json!(5), &json!(1)), "{a}");
    assert_eq!(group(&gateway)["failed"], 5);
    assert_eq!(who(&gateway), "a");
    gateway.stop();
}

#[test]
fn a_timeout_that_the_caller_chose_says_nothing_about_the_member() {
    let home = Home::new();
    let gateway = start(&home, &["a"], "members: [{id: a}], health: {unhealthy_threshold: 1}");
    let calls = json!([{"provider": "workers", "tool": "sleep", "arguments": {"ms": 9000}, "timeout": 0.2}]);
    let answer = gateway.client.tool("hangar_call", json!({"calls": calls}));
    assert_eq!(answer["structuredContent"]["results"][0]["error"]["error"], "timeout", "{answer}");
    let cancelled = gateway.client.start_tool("workers__sleep", json!({"ms": 9000}));
    wait_in_flight(&gateway, "a", 1);
    gateway.client.notify("notifications/cancelled", json!({"requestId": cancelled.id}));
    wait_in_flight(&gateway, "a", 0);
    let a = member(&gateway, "a");
    assert_eq!((&a["health"], &a["in_flight_of_group"]), (&json!("healthy"), &json!(0)), "{a}");
    gateway.stop();
}

#[test]
fn rebalancing_brings_back_what_answers() {
    let home = Home::new();
    let providers = members(&home, &[("a", &[], ""), ("b", &[], ""), ("c", &["--handshake", "exit:7"], "")]);
    let rules = "health: {unhealthy_threshold: 1}, circuit_breaker: {reset_timeout_s: 1000}, strategy: priority";
    let list = "members: [{id: c, priority: 0}, {id: a, priority: 1}, {id: b, priority: 2}]";
    let gateway = Gateway::start(&home, &(providers + &workers(&format!("{rules}, {list}"))));
    error(&gateway, "exit", json!({}));
    assert_eq!(turns(&gateway, 2), "bb");
    let answer = gateway.client.structured("hangar_group_rebalance", json!({"group": "workers"}));
    assert_eq!(answer["recovered"], json!(["a"]), "{answer}");
    assert_eq!(answer["still_out"][0]["id"], "c", "{answer}");
    assert!(answer["still_out"][0]["cause"].as_str().unwrap().contains("code 7"), "{answer}");
    assert_eq!(turns(&gateway, 2), "aa");
    let unknown = gateway.client.tool("hangar_group_rebalance", json!({"group": "worker"}));
    assert_eq!(unknown["isError"], true);
    assert_eq!(unknown["structuredContent"]["error"], "unknown_group");
    assert_eq!(unknown["structuredContent"]["details"]["known"], json!(["workers"]));
    gateway.stop();
}

#[test]
fn a_remote_member_that_cannot_be_reached_was_sent_nothing() {
    let home = Home::new();
    let remote = Remote::start(&[]);
    let providers = remote.provider("r", ", health_check_interval_s: 0");
    let group = workers("strategy: priority, members: [{id: r, priority: 0}, {id: b}]");
    let gateway = Gateway::start(&home, &(providers + &members(&home, &[("b", &[], "")]) + &group));
    assert_eq!(gateway.client.text("workers__echo", json!({"text": "r"})), "r");
    assert_eq!(sent(&home, "b"), 0);
    drop(remote);
    // The connections that it held are seen to be closed.
    sleep(ms(300));
    assert_eq!(gateway.state("r"), "ready", "nobody has noticed");
    assert_eq!(gateway.client.text("workers__echo", json!({"n": 2})), "{\"n\":2}");
    assert_eq!((sent(&home, "b"), member(&gateway, "r")["passed_on"].as_u64()), (1, Some(1)));
    gateway.stop();
}
