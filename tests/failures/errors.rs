//! Every error that a client gets for a provider: which provider, in what state, why, whose fault, and when it is tried again.

use crate::{gateway::*, remote_process::Remote};

struct Wanted<'w> {
    provider: &'w str,
    error: &'w str,
    state: &'w str,
    cause: &'w str,
    fault: &'w str,
    /// At least and at most, seconds. `None`: not at all.
    again: Option<(f64, f64)>,
}

const AT_ONCE: Option<(f64, f64)> = Some((0.0, 0.0));

fn check(answer: &Value, wanted: Wanted<'_>) {
    let Wanted { provider, error, state, cause, fault, again } = wanted;
    let (data, message) = (&answer["error"]["data"], answer["error"]["message"].as_str().unwrap_or_default());
    let told = (&data["error"], &data["provider"], &data["state"], &data["fault"]);
    assert_eq!(told, (&json!(error), &json!(provider), &json!(state), &json!(fault)), "{answer}");
    assert!(data["cause"].as_str().is_some_and(|told| told.contains(cause)), "{cause}: {answer}");
    for part in [&format!("provider \"{provider}\""), cause, &format!("it is {state}; fault: {fault}")] {
        assert!(message.contains(part), "{part}: {message}");
    }
    match again {
        None => assert!(data["retry_after"].is_null() && !message.contains("again"), "{answer}"),
        Some((least, most)) => {
            let left = data["retry_after"].as_f64().unwrap_or_else(|| panic!("no retry_after: {answer}"));
            assert!(left >= least && left <= most, "{least} to {most}: {answer}");
            assert_eq!(data["retry_after_ms"].as_u64(), Some((left * 1000.0).round() as u64), "{answer}");
            let text = if left == 0.0 { "the next call tries it again" } else { "it is tried again in " };
            assert!(message.contains(text), "{message}");
        }
    }
}

fn call(gateway: &Gateway, tool: &str, arguments: Value) -> Value {
    gateway.client.start_tool(tool, arguments).wait()
}

#[test]
fn of_one_that_does_not_start() {
    let home = Home::new();
    let exits = home.provider("exits", &["--handshake", "exit:7"], "");
    let dies = home.provider("dies", &["--handshake", "exit:7"], "max_consecutive_failures: 1");
    let hangs = home.provider("hangs", &["--handshake", "hang"], "startup_timeout_s: 0.4");
    let remote = Remote::start(&[]);
    let refused = remote.provider("refused", "");
    drop(remote);
    let gateway = Gateway::start(&home, &(exits + &dies + &hangs + &refused));
    let error = "provider_not_started";
    let (fault, again) = ("upstream", Some((0.1, 0.5)));
    for (provider, state, cause) in [
        ("exits", "cold", "exited with code 7"),
        // It waits for its next try.
        ("exits", "cold", "exited with code 7"),
        ("dies", "dead", "exited with code 7"),
        ("hangs", "cold", "not ready within 0.4 s (startup_timeout_s)"),
        ("refused", "cold", "cannot connect to"),
    ] {
        let answer = call(&gateway, &format!("{provider}__echo"), json!({}));
        check(&answer, Wanted { provider, error, state, cause, fault, again });
    }
    gateway.stop();
}

#[test]
fn of_one_that_fails_in_a_call() {
    let home = Home::new();
    let keys = "call_timeout_s: 2, max_concurrency: 1, max_queued: 0, max_message_bytes: 2000000, crash_budget: 9";
    let gateway = Gateway::start(&home, &home.provider("a", &[], keys));
    let (provider, fault) = ("a", "upstream");
    gateway.client.pid_of("a");
    let exited = call(&gateway, "a__exit", json!({"code": 5}));
    let (error, state, cause) = ("provider_exited", "cold", "exited with code 5");
    check(&exited, Wanted { provider, error, state, cause, fault, again: AT_ONCE });
    gateway.client.pid_of("a");
    let killed = call(&gateway, "a__exit", json!({"signal": 9}));
    check(&killed, Wanted { provider, error, state, cause: "was killed by signal 9", fault, again: AT_ONCE });
    let state = "ready";
    gateway.client.pid_of("a");
    let slow = gateway.client.start_tool("a__sleep", json!({"ms": 9000}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    let (error, cause) = ("provider_busy", "1 calls are running (max_concurrency) and 0 wait (max_queued)");
    let busy = call(&gateway, "a__echo", json!({}));
    check(&busy, Wanted { provider, error, state, cause, fault, again: Some((1.0, 1.0)) });
    let (error, cause) = ("timeout", "did not answer within 2.0 s (call_timeout_s)");
    check(&slow.wait(), Wanted { provider, error, state, cause, fault, again: AT_ONCE });
    let (error, cause) = ("transport_error", "more than 2000000 bytes");
    let large = call(&gateway, "a__big", json!({"bytes": 2_100_000}));
    check(&large, Wanted { provider, error, state, cause, fault, again: AT_ONCE });
    gateway.stop();
}

#[test]
fn of_a_remote_one() {
    let (home, remote) = (Home::new(), Remote::start(&[]));
    let keys = ", health_check_interval_s: 0, circuit_breaker: {failure_threshold: 3, reset_timeout_s: 20}";
    let gateway = Gateway::start(&home, &remote.provider("r", keys));
    let (provider, error, state, fault) = ("r", "transport_error", "ready", "upstream");
    let failing = |status: u64, wait: Value, times: u64| {
        gateway.client.text("r__burst", json!({"status": status, "retry_after": wait, "times": times}));
    };
    failing(500, Value::Null, 1);
    let answer = call(&gateway, "r__echo", json!({"text": "x"}));
    check(&answer, Wanted { provider, error, state, cause: "HTTP 500", fault, again: AT_ONCE });
    failing(429, json!("7"), 1);
    let answer = call(&gateway, "r__echo", json!({"text": "x"}));
    check(&answer, Wanted { provider, error, state, cause: "HTTP 429", fault, again: Some((7.0, 7.0)) });
    assert_eq!(gateway.client.text("r__echo", json!({"text": "x"})), "x");
    let answer = call(&gateway, "r__fault", json!({"kind": "reset"}));
    check(&answer, Wanted { provider, error, state, cause: "the exchange with", fault, again: AT_ONCE });
    // What it says itself counts for a start, too.
    failing(503, json!("25"), 1);
    gateway.client.structured("hangar_stop", json!({"provider": "r"}));
    let answer = call(&gateway, "r__echo", json!({"text": "x"}));
    let (cause, again) = ("HTTP 503", Some((20.0, 25.0)));
    check(&answer, Wanted { provider, error: "provider_not_started", state: "cold", cause, fault, again });
    gateway.client.structured("hangar_start", json!({"provider": "r"}));
    drop(remote);
    std::thread::sleep(ms(300));
    for _ in 0..3 {
        let answer = call(&gateway, "r__echo", json!({"text": "x"}));
        let again = Some((0.0, 20.0));
        check(&answer, Wanted { provider, error, state, cause: "cannot connect to", fault, again });
    }
    let answer = call(&gateway, "r__echo", json!({"text": "x"}));
    let again = Some((15.0, 20.0));
    check(&answer, Wanted { provider, error: "circuit_open", state, cause: "cannot connect to", fault, again });
    gateway.stop();
}

#[test]
fn of_one_that_a_reload_takes_away_while_it_starts() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--start-delay", "15000"], ""));
    let start = gateway.client.start_tool("hangar_start", json!({"provider": "a"}));
    gateway.wait_state("a", "initializing");
    gateway.reload("");
    let told = start.wait()["result"]["structuredContent"].take();
    let answer = json!({"error": {"message": told["message"], "data": told["details"]}});
    let (provider, error, state, fault) = ("a", "provider_retired", "stopping", "internal");
    check(&answer, Wanted { provider, error, state, cause: "configuration reload", fault, again: AT_ONCE });
    gateway.stop();
}

#[test]
fn of_the_gateways_own_doing() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "drain_timeout_s: 30"));
    let (provider, fault) = ("a", "internal");
    let cut = gateway.client.start_tool("a__sleep", json!({"ms": 15000}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    let changed = config(&home.provider("a", &["--version", "2"], "drain_timeout_s: 30"), UNWATCHED);
    gateway.reload_to(&changed, json!({"graceful": false}));
    let (error, state, cause) = ("provider_stopped", "stopping", "was stopped (updated)");
    check(&cut.wait(), Wanted { provider, error, state, cause, fault, again: AT_ONCE });
    let running = gateway.client.start_tool("a__sleep", json!({"ms": 3000}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.signal(Signal::TERM);
    let late = eventually("a call is refused", SOON, || {
        Some(call(&gateway, "a__echo", json!({}))).filter(|answer| answer.get("error").is_some())
    });
    let (error, cause) = ("shutting_down", "the gateway is shutting down");
    check(&late, Wanted { provider, error, state: "stopping", cause, fault, again: None });
    assert_eq!(running.wait()["result"]["content"][0]["text"], "slept");
}
