//! The breaker around a provider's calls.

use std::{process::Command, time::Instant};

use crate::{gateway::*, remote_process::Remote};

fn error(gateway: &Gateway, tool: &str, arguments: Value) -> Value {
    let answer = gateway.client.start_tool(tool, arguments).wait();
    assert!(answer.get("error").is_some(), "{answer}");
    answer["error"].clone()
}

fn breaker(gateway: &Gateway, name: &str) -> String {
    gateway.provider(name)["circuit_breaker"].as_str().unwrap().to_owned()
}

fn wait_breaker(gateway: &Gateway, name: &str, state: &str) {
    eventually(&format!("the breaker is {state}"), SOON, || (breaker(gateway, name) == state).then_some(()));
}

#[test]
fn callers_of_one_that_hangs_do_not_wait_each_for_its_call_timeout() {
    let home = Home::new();
    let keys = "call_timeout_s: 1, max_concurrency: 0, health_check_interval_s: 0, \
                circuit_breaker: {failure_threshold: 3, reset_timeout_s: 2}";
    let gateway = Gateway::start(&home, &(home.provider("a", &[], keys) + &home.provider("b", &[], "")));
    let pid = gateway.client.pid_of("a");
    signal(pid, Signal::STOP);
    let calls: Vec<_> = (0..3).map(|_| gateway.client.start_tool("a__echo", json!({}))).collect();
    for call in calls {
        assert_eq!(call.wait()["error"]["data"]["error"], "timeout");
    }
    wait_breaker(&gateway, "a", "open");
    let began = Instant::now();
    let refused = error(&gateway, "a__echo", json!({}));
    assert!(began.elapsed() < ms(500), "{:?}", began.elapsed());
    let data = &refused["data"];
    assert_eq!((&data["error"], &data["fault"]), (&json!("circuit_open"), &json!("upstream")), "{refused}");
    assert_eq!((&data["failures"], &data["state"]), (&json!(3), &json!("ready")), "{refused}");
    assert!(data["retry_after"].as_f64().is_some_and(|left| left > 0.0 && left <= 2.0), "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("3 in a row failed (circuit_breaker)") && message.contains("tried again in"), "{message}");
    assert!(message.contains("did not answer within 1.0 s"), "{message}");
    assert_eq!(gateway.client.text("b__echo", json!({})), "{}", "nobody else is concerned");
    // Where it shows.
    let status = gateway.client.structured("hangar_status", json!({}));
    assert!(status["reasons"].to_string().contains("circuit breaker is open"), "{status}");
    let metrics = gateway.client.structured("hangar_metrics", json!({"filter": "hangar_provider_circuit_breaker{"}));
    let lines = metrics["metrics"].as_str().unwrap();
    assert!(lines.contains("provider=\"a\",state=\"open\"} 1") && lines.contains("provider=\"b\",state=\"closed\"} 1"));
    // Half open: one tries, and times out; the others are refused meanwhile.
    wait_breaker(&gateway, "a", "half_open");
    let trial = gateway.client.start_tool("a__echo", json!({}));
    eventually("it tries", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    assert_eq!(error(&gateway, "a__echo", json!({}))["data"]["error"], "circuit_open");
    assert_eq!(trial.wait()["error"]["data"]["error"], "timeout");
    wait_breaker(&gateway, "a", "open");
    // It comes round.
    signal(pid, Signal::CONT);
    wait_breaker(&gateway, "a", "half_open");
    assert_eq!(gateway.client.text("a__echo", json!({})), "{}");
    assert_eq!(breaker(&gateway, "a"), "closed");
    assert_eq!(gateway.client.pid_of("a"), pid, "the same process all the time");
    for step in ["from=\"closed\" to=\"open\"", "from=\"open\" to=\"half_open\"", "from=\"half_open\" to=\"closed\""] {
        let told = |line: &str| line.contains("provider_breaker_changed") && line.contains(step);
        eventually(step, SOON, || gateway.log().lines().any(told).then_some(()));
    }
    gateway.stop();
}

#[test]
fn one_that_hangs_is_ended_however_often_it_is_called() {
    let home = Home::new();
    let keys = "call_timeout_s: 1, circuit_breaker: {failure_threshold: 2, reset_timeout_s: 0.5}, stop: {grace_s: 0.2, term_s: 0.2}";
    let gateway = Gateway::start(&home, &home.provider("a", &[], keys));
    let pid = gateway.client.pid_of("a");
    signal(pid, Signal::STOP);
    let began = Instant::now();
    let fresh = loop {
        let answer = gateway.client.start_tool("a__pid", json!({})).wait();
        if let Some(text) = answer["result"]["content"][0]["text"].as_str() {
            break text.parse::<u32>().unwrap();
        }
        assert!(began.elapsed() < SOON, "{answer}");
        // Refused ones come back at once.
        std::thread::sleep(ms(20));
    };
    assert_ne!(fresh, pid);
    assert!(Being::of(pid).is_none(), "the hung one is gone");
    gateway.wait_for_log("reason=\"unhealthy\"");
    gateway.stop();
}

#[test]
fn a_slow_tool_takes_no_server_out_of_service() {
    let home = Home::new();
    let keys = "call_timeout_s: 0.5, max_concurrency: 0, circuit_breaker: {failure_threshold: 2, reset_timeout_s: 60}";
    let gateway = Gateway::start(&home, &home.provider("a", &[], keys));
    gateway.client.pid_of("a");
    for _ in 0..2 {
        let calls: Vec<_> = (0..4).map(|_| gateway.client.start_tool("a__sleep", json!({"ms": 9000}))).collect();
        for call in calls {
            assert_eq!(call.wait()["error"]["data"]["error"], "timeout");
        }
    }
    holds_for("the breaker is closed", ms(1500), || breaker(&gateway, "a") == "closed");
    gateway.client.text("a__echo", json!({}));
    gateway.stop();
}

#[test]
fn errors_of_tools_and_of_the_server_are_answers() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "circuit_breaker: {failure_threshold: 1}"));
    for _ in 0..3 {
        assert_eq!(gateway.client.tool("a__fail", json!({"text": "no"}))["isError"], true);
        assert_eq!(error(&gateway, "a__rpc_error", json!({"code": -32000, "message": "x"}))["code"], -32000);
    }
    assert_eq!(breaker(&gateway, "a"), "closed");
    gateway.stop();
}

#[test]
fn http_errors_open_it_retry_after_holds_it_open_and_hangar_start_closes_it() {
    let (home, remote) = (Home::new(), Remote::start(&[]));
    let keys = ", health_check_interval_s: 0, circuit_breaker: {failure_threshold: 2, reset_timeout_s: 0.2}";
    let gateway = Gateway::start(&home, &remote.provider("r", keys));
    let burst = |status: u64, wait: Value| {
        gateway.client.text("r__burst", json!({"status": status, "times": 2, "retry_after": wait}));
        [(); 2].map(|()| error(&gateway, "r__echo", json!({"text": "x"})))
    };
    for refused in burst(403, json!("7")) {
        assert!(refused["data"]["error"] == "transport_error", "{refused}");
    }
    assert_eq!(breaker(&gateway, "r"), "closed", "403 is an answer");
    for refused in burst(503, json!("7")) {
        let data = &refused["data"];
        assert_eq!((&data["http_status"], &data["fault"]), (&json!(503), &json!("upstream")), "{refused}");
        let wait = data["retry_after"].as_f64().unwrap();
        assert!(wait > 6.0 && wait <= 7.0, "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("tried again in"), "{refused}");
    }
    assert_eq!(breaker(&gateway, "r"), "open");
    let held = error(&gateway, "r__echo", json!({"text": "x"}));
    assert_eq!(held["data"]["error"], "circuit_open", "{held}");
    assert!(held["data"]["retry_after"].as_f64().is_some_and(|left| left > 3.0), "longer than its own 0.2 s: {held}");
    gateway.client.structured("hangar_start", json!({"provider": "r"}));
    assert_eq!(gateway.client.text("r__echo", json!({"text": "x"})), "x");
    assert_eq!(breaker(&gateway, "r"), "closed");
    for refused in burst(429, Value::Null) {
        assert_eq!(refused["data"]["http_status"], 429, "{refused}");
    }
    wait_breaker(&gateway, "r", "half_open");
    assert_eq!(gateway.client.text("r__echo", json!({"text": "x"})), "x");
    assert_eq!(breaker(&gateway, "r"), "closed");
    gateway.stop();
}

#[test]
fn a_reload_keeps_the_breaker_of_an_unchanged_provider_and_0_switches_it_off() {
    let (home, remote) = (Home::new(), Remote::start(&[]));
    let keys = |threshold: u32| format!(", circuit_breaker: {{failure_threshold: {threshold}, reset_timeout_s: 600}}");
    let gateway = Gateway::start(&home, &remote.provider("r", &keys(1)));
    gateway.client.text("r__burst", json!({"status": 500}));
    error(&gateway, "r__echo", json!({"text": "x"}));
    assert_eq!(breaker(&gateway, "r"), "open");
    let report = gateway.reload(&(remote.provider("r", &keys(1)) + &home.provider("b", &[], "")));
    assert_eq!(report["providers_unchanged"], json!(["r"]), "{report}");
    assert_eq!(error(&gateway, "r__echo", json!({"text": "x"}))["data"]["error"], "circuit_open");
    for (command, code, told) in
        [("status", 1, "r is ready: its circuit breaker is open"), ("list", 0, "refuses calls")]
    {
        let run = Command::new(env!("CARGO_BIN_EXE_hangar"))
            .args([command, "--config"])
            .arg(home.config())
            .env_clear()
            .env("HOME", home.path(""))
            .env("XDG_RUNTIME_DIR", home.path("run"))
            .output()
            .unwrap();
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(text.contains(told) && run.status.code() == Some(code), "{:?} {text}", run.status);
    }
    let report = gateway.reload(&remote.provider("r", &keys(0)));
    assert_eq!(report["changed_fields"]["r"], json!(["circuit_breaker"]), "{report}");
    gateway.client.text("r__burst", json!({"status": 500, "times": 3}));
    for _ in 0..3 {
        assert_eq!(error(&gateway, "r__echo", json!({"text": "x"}))["data"]["http_status"], 500);
    }
    assert_eq!(gateway.client.text("r__echo", json!({"text": "x"})), "x");
    gateway.stop();
}

#[test]
fn an_instance_that_dies_has_failed_once_however_many_calls_it_takes_along() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "circuit_breaker: {failure_threshold: 2}"));
    let pid = gateway.client.pid_of("a");
    let calls: Vec<_> = (0..5).map(|_| gateway.client.start_tool("a__sleep", json!({"ms": 15000}))).collect();
    eventually("they run", SOON, || (gateway.provider("a")["calls_in_flight"] == 5).then_some(()));
    signal(pid, Signal::KILL);
    for call in calls {
        assert!(call.error().contains("signal 9"));
    }
    assert_eq!(breaker(&gateway, "a"), "closed");
    gateway.client.text("a__echo", json!({}));
    gateway.stop();
}

#[test]
fn a_member_of_a_group_with_an_open_breaker_is_not_chosen() {
    let (home, remote) = (Home::new(), Remote::start(&[]));
    let keys = ", health_check_interval_s: 0, circuit_breaker: {failure_threshold: 1, reset_timeout_s: 600}";
    let group = "groups:\n  workers: {strategy: priority, members: [{id: r, priority: 0}, {id: b}], health: {unhealthy_threshold: 9}}\n";
    let gateway = Gateway::start(&home, &(remote.provider("r", keys) + &home.provider("b", &[], "") + group));
    assert_eq!(gateway.client.text("workers__echo", json!({"text": "r"})), "r", "the first one has it");
    gateway.client.text("r__burst", json!({"status": 500}));
    assert_eq!(error(&gateway, "workers__echo", json!({"text": "x"}))["data"]["http_status"], 500, "it was sent");
    assert_eq!(gateway.client.text("workers__echo", json!({"n": 2})), "{\"n\":2}", "the second one has it");
    let list = gateway.client.structured("hangar_group_list", json!({}));
    let member = &list["groups"][0]["members"][0];
    assert_eq!((&member["health"], &member["circuit_breaker"]), (&json!("waiting"), &json!("closed")), "{member}");
    assert!(member["retry_after_ms"].as_u64().is_some_and(|left| left > 500_000), "{member}");
    gateway.stop();
}
