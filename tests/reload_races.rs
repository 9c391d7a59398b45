//! Reloads at the wrong moment: while something starts, stops, drains, is written, or another reload runs. PITFALLS
//! sections 1 and 2.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    fs,
    time::{Duration, Instant},
};

use gateway::{Gateway, Home, SOON, Signal, UNWATCHED, config, eventually, holds_for, json, ms, sha256};

#[test]
fn h02_h20_a_graceful_reload_cuts_no_call_however_it_was_made() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--version", "1"], ""));
    gateway.client.pid_of("a");
    let flat = gateway.client.start_tool("a__sleep", json!({"ms": 600}));
    let one = json!({"provider": "a", "tool": "sleep", "arguments": {"ms": 600}});
    let batch = gateway.client.start_tool("hangar_call", json!({"calls": [one, one]}));
    eventually("the calls run", SOON, || (gateway.provider("a")["calls_in_flight"] == 3).then_some(()));
    gateway.reload(&home.provider("a", &["--version", "2"], ""));
    assert_eq!(flat.wait()["result"]["content"][0]["text"], "slept");
    assert_eq!(batch.wait()["result"]["structuredContent"]["succeeded"], 2);
    gateway.stop();
}

#[test]
fn p18_a_request_during_a_reload_is_answered_by_a_run_that_began_after_it() {
    let home = Home::new();
    let gateway = Gateway::start(&home, "");
    // A run that takes a while: it verifies a slow starter.
    home.put(&config(&home.provider("slow", &["--start-delay", "700"], ""), UNWATCHED));
    let first = gateway.client.start_tool("hangar_reload_config", json!({"verify": true}));
    eventually("the first run is in the middle", SOON, || (home.start_count("slow") == 1).then_some(()));
    home.put(&config(&home.provider("late", &[], ""), UNWATCHED));
    let later: Vec<_> = (0..5).map(|_| gateway.client.start_tool("hangar_reload_config", json!({}))).collect();
    assert_eq!(first.wait()["result"]["structuredContent"]["providers_added"], json!(["slow"]));
    for request in later {
        let report = request.wait()["result"]["structuredContent"].take();
        assert_eq!((&report["providers_added"], &report["generation"]), (&json!(["late"]), &json!(3)), "{report}");
    }
    assert_eq!(gateway.reloads().0, 3, "boot, the first, and one run for all five");
    gateway.stop();
}

#[test]
fn p17_sighup_before_the_gateway_is_ready_never_kills_it() {
    for _ in 0..3 {
        let home = Home::new();
        home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
        let mut gateway = Gateway::spawn(&home);
        // No program can catch a signal before its `main`; from the moment it does, nothing has been read yet.
        eventually("SIGHUP is caught", SOON, || catches(gateway.pid(), Signal::HUP).then_some(()));
        let until = Instant::now() + ms(400);
        while Instant::now() < until {
            gateway.signal(Signal::HUP);
            std::thread::sleep(Duration::from_micros(300));
        }
        assert_eq!(gateway.exited(), None, "{}", gateway.log());
        gateway.client.initialize(json!({}));
        gateway.client.pid_of("a");
        gateway.stop();
    }
}

fn catches(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
    u64::from_str_radix(caught, 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
}

#[test]
fn p18_sighup_tool_and_watch_at_the_same_time_end_on_the_last_file() {
    let home = Home::new();
    let watched = "config_reload: {enabled: true}\n";
    let gateway = Gateway::with_settings(&home, &home.provider("keep", &[], ""), watched);
    let pid = gateway.client.pid_of("keep");
    let mut reloads = Vec::new();
    for round in 0..10 {
        let yaml = config(&(home.provider("keep", &[], "") + &home.provider(&format!("n{round}"), &[], "")), watched);
        fs::write(home.config(), yaml).unwrap();
        gateway.signal(Signal::HUP);
        reloads.push(gateway.client.start_tool("hangar_reload_config", json!({})));
        std::thread::sleep(ms(30));
    }
    for reload in reloads {
        assert_eq!(reload.wait()["result"]["structuredContent"]["status"], "success");
    }
    assert_eq!(gateway.state("n9"), "cold");
    assert_eq!(gateway.state("n8"), "gone");
    let generation = gateway.generation();
    holds_for("no further change", ms(900), || gateway.generation() == generation);
    assert_eq!(gateway.client.pid_of("keep"), pid);
    gateway.stop();
}

#[test]
fn p04_a_tool_reload_in_the_middle_of_a_write_never_applies_half_a_file() {
    let home = Home::new();
    let two = home.provider("a", &[], "") + &home.provider("b", &[], "");
    let gateway = Gateway::start(&home, &two);
    let pid = gateway.client.pid_of("b");
    let whole = config(&(two + &home.provider("c", &[], "")), UNWATCHED);
    // Cut after the first provider: valid YAML, a valid configuration.
    let cut = whole.find("  b:").unwrap();
    fs::write(home.config(), &whole[..cut]).unwrap();
    let tool = gateway.client.start_tool("hangar_reload_config", json!({}));
    gateway.signal(Signal::HUP);
    std::thread::sleep(ms(150));
    fs::write(home.config(), &whole).unwrap();
    let report = tool.wait()["result"]["structuredContent"].take();
    assert_eq!(report["providers_removed"], json!([]), "{report}");
    assert_eq!(report["config_sha256"], sha256(&whole), "{report}");
    assert_eq!(gateway.state("c"), "cold");
    assert_eq!(gateway.client.pid_of("b"), pid, "b was never taken away");
    gateway.stop();
}

#[test]
fn p29_a_reload_during_shutdown_is_refused_and_registers_nothing() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 800}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    home.put(&config(&home.provider("late", &[], ""), UNWATCHED));
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("gateway_stopping");
    let reload = gateway.client.start_tool("hangar_reload_config", json!({})).wait();
    assert_eq!(reload["result"]["structuredContent"]["stage"], "shutdown", "{reload}");
    gateway.signal(Signal::HUP);
    assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    assert_eq!(home.start_count("late"), 0);
    home.assert_nothing_left(Duration::ZERO);
    home.assert_starts_equal_stops("a");
}

#[test]
fn h01_calls_during_updates_leave_no_orphan_and_none_fails() {
    let home = Home::new();
    let spec = |v: usize| home.provider("a", &["--version", &v.to_string()], "");
    let gateway = Gateway::start(&home, &spec(0));
    for version in 1..=20 {
        let mut calls: Vec<_> = (0..4).map(|_| gateway.client.start_tool("a__sleep", json!({"ms": 10}))).collect();
        gateway.reload(&spec(version));
        calls.extend((0..4).map(|_| gateway.client.start_tool("a__pid", json!({}))));
        for call in calls {
            let answer = call.wait();
            assert!(answer.get("result").is_some(), "{answer}");
        }
    }
    home.assert_never_two("a");
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn h04_no_new_call_reaches_an_instance_that_drains() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--version", "1"], ""));
    let old = gateway.client.pid_of("a");
    let running = gateway.client.start_tool("a__sleep", json!({"ms": 700}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.reload(&home.provider("a", &["--version", "2"], ""));
    let during: Vec<_> = (0..20).map(|_| gateway.client.start_tool("a__pid", json!({}))).collect();
    for call in during {
        assert_ne!(call.wait()["result"]["content"][0]["text"], old.to_string());
    }
    assert_eq!(running.wait()["result"]["content"][0]["text"], "slept");
    gateway.stop();
}

#[test]
fn p22_h01_remove_and_add_again_while_the_old_one_still_ends() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let old = gateway.client.pid_of("a");
    let running = gateway.client.start_tool("a__sleep", json!({"ms": 600}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.reload("");
    assert_eq!(gateway.reload(&home.provider("a", &[], ""))["providers_added"], json!(["a"]));
    assert_ne!(gateway.client.pid_of("a"), old);
    assert_eq!(running.wait()["result"]["content"][0]["text"], "slept");
    assert_eq!(home.assert_never_two("a"), 2);
    gateway.stop();
}

#[test]
fn p23_a_reload_while_starting_leaves_no_orphan() {
    let home = Home::new();
    let spec = |v: &str| home.provider("a", &["--version", v, "--start-delay", "600"], "");
    let gateway = Gateway::start(&home, &spec("1"));
    let waiting = gateway.client.start_tool("a__pid", json!({}));
    eventually("it starts", SOON, || (home.start_count("a") == 1).then_some(()));
    gateway.reload(&spec("2"));
    // The call that waited for the old start is served by the new one.
    let pid = waiting.wait()["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(pid, home.starts("a").last().unwrap().1.to_string());
    let alive: Vec<_> = home.beings("a").into_iter().filter(|being| being.lives()).collect();
    assert_eq!(alive.len(), 1, "{alive:?}");
    gateway.reload("");
    home.assert_nothing_left(SOON);
    gateway.stop();
}

#[test]
fn p27_a_call_that_asks_for_the_reload_of_its_own_provider_does_not_deadlock() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--version", "1"], ""));
    gateway.client.pid_of("a");
    // The batch holds a call in flight while the same client asks for the reload that must drain it.
    let call = json!({"provider": "a", "tool": "sleep", "arguments": {"ms": 900}});
    let batch = gateway.client.start_tool("hangar_call", json!({"calls": [call]}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    let began = Instant::now();
    let report = gateway.reload(&home.provider("a", &["--version", "2"], ""));
    assert_eq!(report["draining"], json!(["a"]));
    assert!(began.elapsed() < ms(700));
    assert_eq!(batch.wait()["result"]["structuredContent"]["success"], true);
    gateway.stop();
}

#[test]
fn a_gateway_that_stops_in_the_middle_of_a_verify_waits_for_no_candidate() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.client.pid_of("a");
    home.put(&config(&home.provider("slow", &["--start-delay", "20000"], ""), UNWATCHED));
    let reload = gateway.client.start_tool("hangar_reload_config", json!({"verify": true}));
    eventually("the candidate starts", SOON, || (home.start_count("slow") == 1).then_some(()));
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    let report = reload.wait()["result"]["structuredContent"].take();
    assert_eq!((&report["status"], &report["stage"]), (&json!("failed"), &json!("shutdown")), "{report}");
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    assert!(began.elapsed() < ms(4000), "{:?}", began.elapsed());
    home.assert_nothing_left(Duration::ZERO);
}
