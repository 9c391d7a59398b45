//! A server whose handshake works and that ends soon after, again and again.

use crate::gateway::*;

fn exit(gateway: &Gateway) -> Value {
    gateway.client.start_tool("a__exit", json!({"code": 5})).wait()["error"].take()
}

#[test]
fn one_that_answers_in_between_is_restarted_only_so_often_in_a_minute() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "crash_budget: 2"));
    for round in 0..2 {
        gateway.client.text("a__echo", json!({}));
        let gone = exit(&gateway);
        assert_eq!((&gone["data"]["state"], &gone["data"]["retry_after"]), (&json!("cold"), &json!(0.0)), "{round}");
    }
    gateway.client.text("a__echo", json!({}));
    let last = exit(&gateway);
    assert_eq!((&last["data"]["error"], &last["data"]["state"]), (&json!("provider_exited"), &json!("dead")), "{last}");
    let wait = last["data"]["retry_after"].as_f64().unwrap();
    assert!(wait > 30.0 && wait <= 60.0, "{last}");
    let refused = gateway.client.start_tool("a__echo", json!({})).wait()["error"].take();
    assert_eq!(refused["data"]["error"], "provider_not_started", "{refused}");
    assert_eq!(refused["data"]["state"], "dead", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("exited with code 5"), "{refused}");
    assert_eq!(home.start_count("a"), 3, "nobody starts it any more");
    let status = gateway.client.structured("hangar_status", json!({}));
    assert!(status["reasons"].as_array().unwrap().iter().any(|r| r["provider"] == "a"), "{status}");
    // Somebody who asks for it by name gets it, and a new budget.
    assert_eq!(gateway.client.structured("hangar_start", json!({"provider": "a"}))["state"], "ready");
    assert_eq!(exit(&gateway)["data"]["state"], "cold");
    gateway.client.text("a__echo", json!({}));
    gateway.stop();
}

#[test]
fn a_budget_of_0_is_no_limit() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "crash_budget: 0"));
    for _ in 0..8 {
        gateway.client.text("a__echo", json!({}));
        assert_eq!(exit(&gateway)["data"]["state"], "cold");
    }
    assert_eq!(home.start_count("a"), 8);
    gateway.stop();
}

#[test]
fn one_that_never_answers_backs_off_and_is_dead() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "max_consecutive_failures: 3, crash_budget: 100"));
    assert_eq!(exit(&gateway)["data"]["retry_after"], 0.0, "the first one costs nothing");
    let second = exit(&gateway);
    assert_eq!(second["data"]["state"], "cold", "{second}");
    let wait = second["data"]["retry_after"].as_f64().unwrap();
    assert!(wait > 0.2 && wait <= 0.5, "{second}");
    let held = gateway.client.start_tool("a__echo", json!({})).wait()["error"].take();
    assert_eq!(held["data"]["error"], "provider_not_started", "{held}");
    assert_eq!(home.start_count("a"), 2);
    // As soon as it may be tried again, it ends again: that was the third time.
    let third = eventually("it is started once more", SOON, || {
        Some(exit(&gateway)).filter(|error| error["data"]["error"] == "provider_exited")
    });
    assert_eq!(third["data"]["state"], "dead", "{third}");
    eventually("a call after the back-off revives it", SOON, || {
        gateway.client.start_tool("a__echo", json!({})).wait().get("result").map(drop)
    });
    assert_eq!(gateway.provider("a")["consecutive_failures"], 0);
    gateway.stop();
}
