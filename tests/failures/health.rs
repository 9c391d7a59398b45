//! Healthy is what answers and has told what it offers.

use crate::gateway::*;

fn reasons(gateway: &Gateway) -> String {
    gateway.client.structured("hangar_status", json!({}))["reasons"].to_string()
}

#[test]
fn one_whose_lists_cannot_be_fetched_is_degraded_until_they_can() {
    for (how, told) in [("error", "no list today"), ("hang", "did not answer within")] {
        let home = Home::new();
        let keys = "call_timeout_s: 1, health_check_interval_s: 0.3";
        let gateway = Gateway::start(&home, &home.provider("a", &[], keys));
        let pid = gateway.client.pid_of("a");
        gateway.client.text("a__list_fault", json!({"how": how}));
        gateway.client.text("a__add_tool", json!({"name": "later"}));
        gateway.wait_state("a", "degraded");
        assert!(reasons(&gateway).contains("its tools/list cannot be fetched"), "{}", reasons(&gateway));
        assert!(reasons(&gateway).contains(told), "{}", reasons(&gateway));
        assert_eq!(gateway.client.structured("hangar_health", json!({}))["status"], "degraded");
        // It answers its probes all the time.
        holds_for("it is degraded", ms(900), || gateway.state("a") == "degraded");
        assert_eq!(gateway.client.text("a__echo", json!({})), "{}", "and its calls");
        assert!(gateway.client.tools().iter().any(|name| name == "a__echo"), "its last list is still offered");
        gateway.client.text("a__list_fault", json!({"how": "none"}));
        gateway.wait_state("a", "ready");
        assert!(gateway.client.tools().iter().any(|name| name == "a__later"));
        assert_eq!(reasons(&gateway), "[]");
        assert_eq!(gateway.client.pid_of("a"), pid);
        gateway.stop();
    }
}

#[test]
fn one_that_never_gave_its_lists_has_not_started() {
    let home = Home::new();
    let a = home.provider("a", &["--list", "endless"], "startup_timeout_s: 5");
    let gateway = Gateway::start(&home, &a);
    let error = gateway.client.start_tool("a__echo", json!({})).error();
    assert!(error.contains("its tools/list gives the same cursor twice"), "{error}");
    assert_ne!(gateway.state("a"), "ready");
    assert!(reasons(&gateway).contains("tools/list"), "{}", reasons(&gateway));
    gateway.stop();
}
