//! Groups and reloads.

use crate::{gateway::UNWATCHED, gateway::config, rig::*};

const PAIR: &str = "members: [{id: a}, {id: b}]";

#[test]
fn an_unchanged_group_keeps_its_counters_and_its_turn_whatever_becomes_of_its_members() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b", "c"], "members: [{id: a}, {id: b}, {id: c}]");
    assert_eq!(turns(&gateway, 4), "abca");
    let changed = members(&home, &[("a", &["--version", "2"], ""), ("b", &[], ""), ("c", &[], "")]);
    let report = gateway.reload(&(changed + &workers("members: [{id: a}, {id: b}, {id: c}]")));
    assert_eq!(report["providers_updated"], json!(["a"]), "{report}");
    assert_eq!(report["groups_updated"], json!([]), "{report}");
    let told = group(&gateway);
    assert_eq!(told["calls"], 4, "{told}");
    let calls: Vec<_> = told["members"].as_array().unwrap().iter().map(|m| m["calls"].clone()).collect();
    assert_eq!(json!(calls), json!([2, 1, 1]));
    assert_eq!(turns(&gateway, 3), "bca", "it goes on where it was");
    gateway.stop();
}

#[test]
fn a_member_that_was_changed_is_not_judged_by_what_its_predecessor_did() {
    let home = Home::new();
    let rules = "strategy: priority, members: [{id: a, priority: 0}, {id: b}], health: {unhealthy_threshold: 1}";
    let broken = members(&home, &[("a", &["--handshake", "exit:7"], ""), ("b", &[], "")]);
    let gateway = Gateway::start(&home, &(broken + &workers(rules)));
    assert_eq!(turns(&gateway, 2), "bb");
    assert_eq!(member(&gateway, "a")["health"], "unhealthy");
    gateway.reload(&yaml(&home, &["a", "b"], rules));
    let a = member(&gateway, "a");
    assert_eq!((&a["health"], &a["passed_on"]), (&json!("healthy"), &json!(1)), "{a}");
    assert_eq!(turns(&gateway, 2), "aa");
    gateway.stop();
}

#[test]
fn groups_are_part_of_the_diff_and_the_report() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], PAIR);
    gateway.client.tools();
    let both = |groups: &str| members(&home, &[("a", &[], ""), ("b", &[], "")]) + groups;
    let to = |groups: &str, arguments: Value| gateway.reload_to(&config(&both(groups), UNWATCHED), arguments);
    let generation = gateway.generation();
    let same = to(
        &workers("strategy: round_robin, min_healthy: 1, members: [{id: a, weight: 1}, {id: b, priority: 1}]"),
        json!({}),
    );
    assert_eq!((&same["groups_updated"], &same["generation"]), (&json!([]), &json!(generation)), "defaults: {same}");
    let next =
        workers("strategy: random, hide_members: true, members: [{id: b}, {id: a}]") + "  more: {members: [{id: a}]}\n";
    let dry = to(&next, json!({"dry_run": true}));
    for report in [dry, to(&next, json!({}))] {
        assert_eq!(report["status"], "success", "{report}");
        assert_eq!(report["groups_added"], json!(["more"]), "{report}");
        assert_eq!(report["groups_updated"], json!(["workers"]), "{report}");
        assert_eq!(report["changed_fields"], json!({"workers": ["hide_members", "members", "strategy"]}));
        assert_eq!(report["providers_unchanged"], json!(["a", "b"]));
    }
    assert_eq!(gateway.generation(), generation + 1);
    gateway.client.wait_messages("notifications/tools/list_changed", 1);
    assert!(gateway.client.tools().contains(&"more__echo".to_owned()));
    let gone = to("", json!({}));
    assert_eq!(gone["groups_removed"], json!(["more", "workers"]), "{gone}");
    assert!(!gateway.client.tools().iter().any(|name| name.starts_with("workers__")));
    let refused = gateway.client.start_tool("workers__echo", json!({})).error();
    assert!(refused.contains("workers__echo"), "{refused}");
    for line in ["group_added group=\"more\"", "group_updated group=\"workers\"", "group_removed group=\"workers\""] {
        gateway.wait_for_log(line);
    }
    gateway.stop();
}

#[test]
fn a_call_of_a_group_is_drained_with_the_member_that_has_it() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], PAIR);
    let call = gateway.client.start_tool("workers__sleep", json!({"ms": 4000}));
    wait_in_flight(&gateway, "a", 1);
    let report = gateway.reload(&yaml(&home, &["b"], "members: [{id: b}]"));
    assert_eq!((&report["providers_removed"], &report["draining"]), (&json!(["a"]), &json!(["a"])), "{report}");
    assert_eq!((&report["groups_updated"], turns(&gateway, 3).as_str()), (&json!(["workers"]), "bbb"));
    assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    assert_eq!(sent(&home, "a"), 1);
    eventually("a has ended", SOON, || home.beings("a").iter().all(|being| !being.lives()).then_some(()));
    gateway.stop();
}

#[test]
fn a_call_of_a_group_waits_for_no_member_that_drains() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], PAIR);
    let call = gateway.client.start_tool("workers__sleep", json!({"ms": 5000}));
    wait_in_flight(&gateway, "a", 1);
    let reload = gateway.reload_to(&config(&yaml(&home, &["a", "b"], PAIR), UNWATCHED), json!({}));
    assert_eq!(reload["providers_updated"], json!([]));
    let stopped = gateway.client.start_tool("hangar_stop", json!({"provider": "a"}));
    gateway.wait_state("a", "stopping");
    assert_eq!(turns(&gateway, 4), "bbbb");
    assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    stopped.wait();
    assert_eq!(turns(&gateway, 2).len(), 2);
    gateway.stop();
}

#[test]
fn a_member_that_is_switched_off_is_left_out() {
    let home = Home::new();
    let of = |a: &str, b: &str| members(&home, &[("a", &[], a), ("b", &[], b)]) + &workers(PAIR);
    let gateway = Gateway::start(&home, &of("enabled: false", ""));
    assert_eq!(turns(&gateway, 2), "bb");
    assert_eq!(
        (member(&gateway, "a")["health"].clone(), group(&gateway)["state"].clone()),
        (json!("disabled"), json!("degraded"))
    );
    gateway.reload(&of("", "enabled: false"));
    assert_eq!(turns(&gateway, 2), "aa");
    gateway.reload(&of("enabled: false", "enabled: false"));
    let error = error(&gateway, "echo", json!({}));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("a is disabled; b is disabled"), "{message}");
    assert_eq!(error["data"]["error"], "group_unavailable", "{error}");
    gateway.stop();
}

#[test]
fn a_refused_group_moves_nothing() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], PAIR);
    assert_eq!(who(&gateway), "a");
    for (groups, path, says) in [
        ("members: [{id: a}, {id: c}]", "groups.workers.members[1].id", "there is no provider \"c\""),
        ("members: [{id: a}, {id: a}]", "groups.workers.members[1].id", "a member already"),
        ("members: []", "groups.workers.members", "the list is empty"),
        ("strategy: random", "groups.workers.members", "`members` is missing"),
        ("members: [{id: a}], strategy: fastest", "groups.workers.strategy", "round_robin"),
        ("members: [{id: a}], min_healthy: 2", "groups.workers.min_healthy", "the group has 1"),
    ] {
        let report = gateway.reload(&yaml(&home, &["a", "b"], groups));
        assert_eq!(report["status"], "failed", "{groups}");
        let problem = &report["problems"][0];
        assert_eq!(problem["path"], path, "{report:#}");
        let told = format!("{} {}", problem["message"].as_str().unwrap(), problem["help"].as_str().unwrap_or_default());
        assert!(told.contains(says), "{problem}");
        assert!(problem["line"].as_u64().unwrap() > 3 && problem["code"].as_str().unwrap().starts_with("HGR"));
    }
    assert_eq!(turns(&gateway, 3), "bab");
    gateway.stop();
}

#[test]
fn reloads_of_members_cost_a_group_no_call() {
    let home = Home::new();
    let of = |version: usize| {
        let version = version.to_string();
        members(&home, &[("a", &["--version", &version], ""), ("b", &[], ""), ("c", &[], "")])
            + &workers("strategy: least_connections, members: [{id: a}, {id: b}, {id: c}]")
    };
    let gateway = Gateway::start(&home, &of(0));
    assert_eq!(turns(&gateway, 3).len(), 3);
    let before = [sent(&home, "a"), sent(&home, "b"), sent(&home, "c")];
    let mut calls = Vec::new();
    for round in 1..=12 {
        calls.extend((0..25).map(|n| gateway.client.start_tool("workers__sleep", json!({"ms": n * 4}))));
        assert_eq!(gateway.reload(&of(round))["providers_updated"], json!(["a"]));
    }
    let count = calls.len();
    for call in calls {
        let answer = call.wait();
        assert_eq!(answer["result"]["content"][0]["text"], "slept", "{answer}");
    }
    let after = [sent(&home, "a"), sent(&home, "b"), sent(&home, "c")];
    assert_eq!(after.iter().sum::<usize>() - before.iter().sum::<usize>(), count, "each was sent once");
    let told = group(&gateway);
    assert_eq!((&told["failed"], &told["refused"]), (&json!(0), &json!(0)), "{told}");
    assert!(told["members"].as_array().unwrap().iter().all(|m| m["in_flight_of_group"] == 0), "{told}");
    home.assert_never_two("a");
    gateway.stop();
}

#[test]
fn a_call_that_a_reload_cuts_gets_one_error_and_is_not_repeated() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], PAIR);
    let call = gateway.client.start_tool("workers__sleep", json!({"ms": 9000}));
    wait_in_flight(&gateway, "a", 1);
    let next = config(&yaml(&home, &["b"], "members: [{id: b}]"), UNWATCHED);
    gateway.reload_to(&next, json!({"graceful": false}));
    let error = call.error();
    assert!(error.contains("provider \"a\" was stopped (removed) while the call was in flight"), "{error}");
    assert_eq!((sent(&home, "a"), sent(&home, "b")), (1, 0));
    gateway.stop();
}
