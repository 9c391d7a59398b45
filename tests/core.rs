//! The core as a black box, beyond what the files of its subjects hold: stops and asks that end, counts that are true,
//! a gateway that nobody's reading holds up.

#[path = "support/gateway.rs"]
mod gateway;

use std::{fs, fs::OpenOptions, io::Write, process::Stdio, thread};

use gateway::*;

fn in_flight(gateway: &Gateway, name: &str, count: u64) {
    eventually(&format!("{count} calls of {name} are in flight"), SOON, || {
        (gateway.provider(name)["calls_in_flight"] == count).then_some(())
    });
}

fn metric(gateway: &Gateway, filter: &str) -> String {
    gateway.client.structured("hangar_metrics", json!({"filter": filter}))["metrics"].as_str().unwrap().to_owned()
}

#[test]
fn a_stop_is_answered_though_waiting_calls_start_the_provider_again_at_once() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    for round in 0..8 {
        let busy = gateway.client.start_tool("a__sleep", json!({"ms": 600}));
        in_flight(&gateway, "a", 1);
        let stop = gateway.client.start_tool("hangar_stop", json!({"provider": "a"}));
        let waiting: Vec<_> = (0..8).map(|_| gateway.client.start_tool("a__echo", json!({}))).collect();
        busy.wait();
        waiting.into_iter().for_each(|call| assert!(call.wait()["result"].is_object()));
        assert!(stop.within(ms(3000)).is_some(), "round {round}: the stop is not answered");
    }
    gateway.stop();
}

#[test]
fn a_dry_run_does_not_hide_a_change_from_the_watcher() {
    let home = Home::new();
    let settings = "config_reload: {use_watchdog: false, interval_s: 2}\n";
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), settings);
    let both = home.provider("a", &[], "") + &home.provider("b", &[], "");
    let report = gateway.reload_to(&config(&both, settings), json!({"dry_run": true}));
    assert_eq!(report["providers_added"], json!(["b"]));
    gateway.wait_state("b", "cold");
    gateway.stop();
}

#[test]
fn p04_a_file_that_never_stands_still_is_refused_not_half_applied() {
    let home = Home::new();
    let gateway = Gateway::start(&home, "");
    let head = format!("{UNWATCHED}providers:\n{}", home.provider("a", &[], ""));
    fs::write(home.config(), head).unwrap();
    let path = home.config();
    let writer = thread::spawn(move || {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        for line in 0..60 {
            writeln!(file, "  # line {line}").unwrap();
            thread::sleep(ms(100));
        }
    });
    let report = gateway.client.tool("hangar_reload_config", json!({}))["structuredContent"].take();
    assert!(!writer.is_finished());
    assert_eq!(report["status"], "failed", "{report}");
    assert_eq!(report["stage"], "read", "{report}");
    assert_eq!(gateway.state("a"), "gone");
    writer.join().unwrap();
    gateway.stop();
}

#[test]
fn p09_a_file_that_is_no_text_is_refused_once_and_not_again_at_every_poll() {
    let home = Home::new();
    let settings = "config_reload: {use_watchdog: false, interval_s: 0.2}\n";
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), settings);
    fs::write(home.config(), b"providers: {} # \xff\n").unwrap();
    gateway.wait_for_log("configuration_reload_failed");
    let refused = || gateway.log().matches("configuration_reload_failed").count();
    holds_for("it is refused once", ms(2000), || refused() == 1);
    gateway.stop();
}

#[test]
fn a_name_that_no_provider_lists_becomes_no_label() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.client.start_tool("a__made/up", json!({})).wait();
    let calls = metric(&gateway, "hangar_calls_total");
    assert!(calls.contains("(unlisted)") && !calls.contains("made/up"), "{calls}");
    gateway.stop();
}

#[test]
fn a_cancelled_call_is_counted_as_cancelled() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 60000}));
    in_flight(&gateway, "a", 1);
    gateway.client.notify("notifications/cancelled", json!({"requestId": call.id}));
    in_flight(&gateway, "a", 0);
    let calls = metric(&gateway, "hangar_calls_total");
    assert!(calls.contains(r#"provider="a",tool="sleep",outcome="cancelled"} 1"#), "{calls}");
    gateway.stop();
}

#[test]
fn an_instance_that_starts_later_is_told_the_log_level_as_well() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.client.request("logging/setLevel", json!({"level": "error"}));
    eventually("the level has come through", SOON, || {
        (gateway.client.text("a__log_level", json!({})) == "error").then_some(())
    });
    gateway.stop();
}

#[test]
fn settings_of_the_watcher_apply_at_once_also_after_a_verified_reload() {
    let home = Home::new();
    let slow = home.provider("a", &["--start-delay", "1000"], "");
    let gateway = Gateway::with_settings(&home, "", "config_reload: {enabled: false, interval_s: 3600}\n");
    let settings = "config_reload: {interval_s: 3600}\n";
    let report = gateway.reload_to(&config(&slow, settings), json!({"verify": true}));
    assert_eq!(report["providers_added"], json!(["a"]), "{report}");
    thread::sleep(ms(300));
    fs::write(home.config(), config(&(slow + &home.provider("b", &[], "")), settings)).unwrap();
    gateway.wait_state("b", "cold");
    gateway.stop();
}

#[test]
fn p29_a_stop_does_not_wait_for_a_candidate_that_hangs() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, "");
    let hung = home.provider("a", &["--handshake", "hang"], "startup_timeout_s: 100, ");
    home.put(&config(&hung, UNWATCHED));
    let reload = gateway.client.start_tool("hangar_reload_config", json!({"verify": true}));
    eventually("the candidate is there", SOON, || (home.start_count("a") == 1).then_some(()));
    gateway.signal(Signal::TERM);
    let report = reload.within(ms(10_000)).expect("the reload is answered");
    assert_eq!(report["result"]["structuredContent"]["stage"], "shutdown", "{report}");
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    home.assert_nothing_left(ms(0));
}

#[test]
fn a_stderr_that_nobody_reads_holds_nothing_up() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), "config_reload: {enabled: false}\nlogging: {level: debug}\n"));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_hangar"))
        .args(["serve", "--config"])
        .arg(home.config())
        .env("XDG_STATE_HOME", home.path("state"))
        .env("XDG_RUNTIME_DIR", home.path("run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let unread = child.stderr.take().unwrap();
    let client = Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    client.initialize(json!({}));
    for _ in 0..2000 {
        client.text("a__echo", json!({}));
    }
    drop(unread);
    // Now its read end is closed.
    for _ in 0..10 {
        client.text("a__echo", json!({}));
    }
    assert_eq!(client.structured("hangar_reload_config", json!({}))["status"], "success");
    client.close();
    let ended = eventually("the gateway has ended", SOON, || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_call_behind_calls_that_hang_waits_no_longer_than_a_call_may_take() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "max_concurrency: 1, call_timeout_s: 1, "));
    gateway.client.pid_of("a");
    let hung: Vec<_> = (0..4).map(|_| gateway.client.start_tool("a__sleep", json!({"ms": 60000}))).collect();
    let began = std::time::Instant::now();
    let errors: Vec<_> = hung.into_iter().map(Pending::error).collect();
    assert!(began.elapsed() < ms(3000), "{:?}", began.elapsed());
    assert!(errors.iter().any(|error| error.contains("call_timeout_s")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("max_concurrency")), "{errors:?}");
    gateway.stop();
}

#[test]
fn a_subscription_outlives_the_instance_it_was_made_with() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let listed = gateway.client.list("resources/list");
    let uri = listed["resources"][0]["uri"].as_str().unwrap().to_owned();
    let own = uri.strip_prefix("hangar://a/").unwrap();
    assert_eq!(gateway.client.request("resources/subscribe", json!({"uri": uri}))["result"], json!({}));
    let report = gateway.reload(&home.provider("a", &[], "idle_ttl_s: 200, "));
    assert_eq!(report["providers_updated"], json!(["a"]));
    eventually("the new instance knows the subscription", SOON, || {
        (gateway.client.text("a__subscriptions", json!({})) == format!("[\"{own}\"]")).then_some(())
    });
    assert_eq!(gateway.client.request("resources/unsubscribe", json!({"uri": uri}))["result"], json!({}));
    assert_eq!(gateway.client.text("a__subscriptions", json!({})), "[]");
    gateway.stop();
}

#[test]
fn p17_a_stop_is_not_lost_behind_a_flood_of_sighups_during_the_boot() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    // Written a moment ago: the boot waits for it to settle.
    let path = home.config();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let mut touch = move || writeln!(file, "# more").unwrap();
    touch();
    let mut gateway = Gateway::spawn(&home);
    gateway.wait_for_log("config_reload_worker_started");
    for round in 0..200 {
        if round % 20 == 0 {
            touch();
        }
        gateway.signal(Signal::HUP);
        thread::sleep(ms(2));
    }
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log());
    assert!(!gateway.log().contains("panicked"));
}
