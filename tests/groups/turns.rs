//! Whose turn it is.

use crate::rig::*;

#[test]
fn round_robin_takes_turns_exactly() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b", "c"], "members: [{id: c}, {id: a, weight: 9}, {id: b}]");
    assert_eq!(turns(&gateway, 7), "cabcabc", "in the order of the file, whatever the weights");
    let group = group(&gateway);
    assert_eq!((&group["strategy"], &group["state"]), (&json!("round_robin"), &json!("healthy")), "{group}");
    assert_eq!((&group["calls"], &group["failed"], &group["refused"]), (&json!(7), &json!(0), &json!(0)));
    let calls: Vec<_> = group["members"].as_array().unwrap().iter().map(|m| m["calls"].as_u64().unwrap()).collect();
    assert_eq!(calls, [3, 2, 2]);
    gateway.stop();
}

#[test]
fn weights_are_served_smoothly() {
    let home = Home::new();
    let members = "members: [{id: a, weight: 5}, {id: b}, {id: c}]";
    let gateway = start(&home, &["a", "b", "c"], &format!("strategy: weighted_round_robin, {members}"));
    assert_eq!(turns(&gateway, 14), "aabacaaaabacaa");
    gateway.stop();
}

#[test]
fn the_member_with_the_fewest_running_calls_is_taken_whoever_routed_them() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], "strategy: least_connections, members: [{id: a}, {id: b}]");
    let slow = |name: &str| gateway.client.start_tool(name, json!({"ms": 6000}));
    let first = slow("workers__sleep");
    wait_in_flight(&gateway, "a", 1);
    let second = slow("workers__sleep");
    wait_in_flight(&gateway, "b", 1);
    let third = slow("a__sleep");
    wait_in_flight(&gateway, "a", 2);
    assert_eq!(turns(&gateway, 4), "bbbb");
    for call in [first, second, third] {
        assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    }
    assert_eq!((member(&gateway, "a")["calls_in_flight"].clone(), turns(&gateway, 4).len()), (json!(0), 4));
    let counts: Vec<_> = ["a", "b"].iter().map(|id| member(&gateway, id)["calls"].as_u64().unwrap()).collect();
    assert_eq!(counts, [3, 7], "free again, they take turns");
    gateway.stop();
}

#[test]
fn calls_that_wait_for_a_start_count_too() {
    let home = Home::new();
    let slow: (&[&str], &str) = (&["--start-delay", "400"], "");
    let providers = members(&home, &[("a", slow.0, slow.1), ("b", slow.0, slow.1)]);
    let group = workers("strategy: least_connections, members: [{id: a}, {id: b}]");
    let gateway = Gateway::start(&home, &(providers + &group));
    let calls: Vec<_> = (0..6).map(|_| gateway.client.start_tool("workers__args", json!({}))).collect();
    let mut names: Vec<String> =
        calls.into_iter().map(|call| named(call.wait()["result"]["content"][0]["text"].as_str().unwrap())).collect();
    names.sort();
    assert_eq!(names.concat(), "aaabbb");
    gateway.stop();
}

#[test]
fn random_calls_every_member() {
    let home = Home::new();
    let gateway = start(&home, &["a", "b"], "strategy: random, members: [{id: a}, {id: b}]");
    let taken = turns(&gateway, 60);
    let a = taken.bytes().filter(|b| *b == b'a').count();
    assert!((8..=52).contains(&a), "{taken}");
    gateway.stop();
}

#[test]
fn priority_falls_over_and_comes_back() {
    let home = Home::new();
    let counter = home.path("counter");
    let args = ["--crash-starts", "1", "--counter", counter.to_str().unwrap()];
    let providers = members(&home, &[("a", &[], ""), ("b", &args, "protocol: legacy"), ("c", &[], "")]);
    let rules = "health: {unhealthy_threshold: 1}, circuit_breaker: {reset_timeout_s: 5}";
    let list = "members: [{id: a, priority: 2}, {id: b, priority: 1}, {id: c, priority: 2}]";
    // Learned without it: a listing would use up the start that fails.
    let settings = workers(&format!("strategy: priority, {rules}, {list}"));
    let gateway = Gateway::start(&home, &(providers + &settings));
    assert_eq!(turns(&gateway, 3), "cac", "b does not start, and those after it take turns");
    let b = member(&gateway, "b");
    assert_eq!(
        (&b["health"], &b["circuit_breaker"], &b["passed_on"]),
        (&json!("unhealthy"), &json!("open"), &json!(1)),
        "{b}"
    );
    assert!(b["retry_after_ms"].as_u64().unwrap() <= 5000, "{b}");
    eventually("b is first again", SOON, || (who(&gateway) == "b").then_some(()));
    assert_eq!(turns(&gateway, 3), "bbb");
    assert_eq!(member(&gateway, "b")["health"], "healthy");
    gateway.stop();
}

#[test]
fn a_member_without_room_is_left_out_while_another_has_some() {
    let home = Home::new();
    let one_at_a_time = "max_concurrency: 1";
    let providers = members(&home, &[("a", &[], one_at_a_time), ("b", &[], one_at_a_time)]);
    let gateway = Gateway::start(&home, &(providers + &workers("members: [{id: a}, {id: b}]")));
    assert_eq!(turns(&gateway, 2), "ab");
    let direct = gateway.client.start_tool("a__sleep", json!({"ms": 6000}));
    wait_in_flight(&gateway, "a", 1);
    assert_eq!(turns(&gateway, 3), "bbb", "round robin among those with room");
    let through = gateway.client.start_tool("workers__sleep", json!({"ms": 6000}));
    wait_in_flight(&gateway, "b", 1);
    // Both are full: what comes now waits for its turn, as with a provider, and gives up as there.
    let calls = json!([{"provider": "workers", "tool": "echo", "timeout": 0.2}]);
    let refused = gateway.client.tool("hangar_call", json!({"calls": calls}))["structuredContent"]["results"][0].take();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("\"a\" is busy: 1 calls are running (max_concurrency)"), "{message}");
    assert!(message.contains("\"b\" is busy"), "{message}");
    let waiting = gateway.client.start_tool("workers__echo", json!({"n": 1}));
    for _ in 0..10 {
        for name in ["a", "b"] {
            assert!(gateway.provider(name)["calls_in_flight"].as_u64().unwrap() <= 1);
        }
    }
    assert_eq!(waiting.wait()["result"]["content"][0]["text"], "{\"n\":1}");
    for call in [direct, through] {
        assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    }
    assert_eq!(member(&gateway, "a")["health"], "healthy", "to be busy is no failure");
    gateway.stop();
}

#[test]
fn members_of_which_each_client_has_its_own_instance_take_turns_too() {
    let home = Home::new();
    let providers = members(&home, &[("a", &[], "sharing: session"), ("b", &[], "sharing: session")]);
    let group = "strategy: least_connections, members: [{id: a}, {id: b}]";
    let gateway = Gateway::start(&home, &(providers + &workers(group)));
    assert_eq!(turns(&gateway, 4), "abab");
    let slow = gateway.client.start_tool("a__sleep", json!({"ms": 6000}));
    wait_in_flight(&gateway, "a", 1);
    assert_eq!(turns(&gateway, 2), "bb", "calls of all instances count");
    assert_eq!(slow.wait()["result"]["content"][0]["text"], "slept");
    let answer = gateway.client.structured("hangar_start", json!({"provider": "workers"}));
    assert_eq!((&answer["not_started"], &answer["healthy"]), (&json!([]), &json!(2)), "{answer}");
    gateway.stop();
}

#[test]
fn a_member_that_does_not_answer_its_probes_or_is_dead_comes_second() {
    let home = Home::new();
    let probed = "health_check_interval_s: 2, max_consecutive_failures: 1000";
    let dead = "max_consecutive_failures: 1, protocol: legacy";
    let providers = members(&home, &[("a", &[], probed), ("b", &[], ""), ("c", &["--handshake", "exit:7"], dead)]);
    let list = "members: [{id: c, priority: 0}, {id: a, priority: 1}, {id: b, priority: 2}]";
    let rules = "strategy: priority, health: {unhealthy_threshold: 100}";
    let gateway = Gateway::start(&home, &(providers + &workers(&format!("{rules}, {list}"))));
    assert_eq!(turns(&gateway, 2), "aa");
    assert_eq!(gateway.state("c"), "dead");
    gateway.client.text("a__stop_reading", json!({}));
    gateway.wait_state("a", "degraded");
    eventually("c may be tried again", SOON, || (member(&gateway, "c")["health"] == "healthy").then_some(()));
    assert_eq!(turns(&gateway, 3), "bbb");
    assert_eq!(home.start_count("c"), 1, "nobody tries the dead while another one works");
    gateway.stop();
}
