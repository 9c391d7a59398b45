//! Servers that do what servers should not: PITFALLS section 4, each row through the shipped binary, with a neighbour beside it
//! that never notices. Rows that have tests elsewhere are named in `docs/pitfalls.md`.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use gateway::{Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json, ms};

/// A gateway with an odd server "a" and a neighbour "b".
fn beside(home: &Arc<Home>, args: &[&str], keys: &str) -> Gateway {
    let gateway = Gateway::start(home, &(home.provider("a", args, keys) + &home.provider("b", &[], "")));
    gateway.client.pid_of("b");
    gateway
}

/// The neighbour answers at once.
fn undisturbed(gateway: &Gateway) {
    let began = Instant::now();
    assert_eq!(gateway.client.text("b__echo", json!({})), "{}");
    assert!(began.elapsed() < ms(2000), "the neighbour took {:?}", began.elapsed());
}

fn resident_kib(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn details(gateway: &Gateway) -> Value {
    gateway.client.structured("hangar_details", json!({"provider": "a"}))
}

#[test]
fn s01_noise_on_stdout_is_skipped_counted_and_kept() {
    let home = Home::new();
    let gateway = beside(&home, &["--noise", "5"], "");
    let pid = gateway.client.pid_of("a");
    assert_eq!(gateway.client.text("a__noise", json!({"lines": 50})), "made noise");
    assert_eq!(gateway.client.pid_of("a"), pid, "the connection lives");
    assert_eq!(details(&gateway)["noise_lines"], 55);
    undisturbed(&gateway);
    gateway.stop();
}

#[test]
fn s02_a_message_of_more_than_16_mib_costs_its_own_call_only() {
    let home = Home::new();
    let gateway = beside(&home, &[], "");
    let pid = gateway.client.pid_of("a");
    let began = Instant::now();
    let error = gateway.client.start_tool("a__big", json!({"bytes": 17 * 1024 * 1024})).error();
    assert!(error.contains("16777216") && error.contains("\"a\""), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15), "at once, not by a timeout");
    assert_eq!(gateway.client.text("a__big", json!({"bytes": 15_000_000})).len(), 15_000_000);
    assert_eq!(gateway.client.pid_of("a"), pid, "the connection lives");
    undisturbed(&gateway);
    gateway.stop();
}

#[test]
fn s03_a_flood_on_stderr_blocks_nobody_and_takes_no_memory() {
    let home = Home::new();
    let gateway = beside(&home, &["--stderr-flood", "1000000"], "");
    gateway.client.pid_of("a");
    let before = resident_kib(gateway.pid());
    gateway.client.text("a__stderr", json!({"bytes": 50_000_000}));
    let after = resident_kib(gateway.pid());
    assert!(after < before + 16 * 1024, "{before} KiB before, {after} KiB after");
    undisturbed(&gateway);
    gateway.stop();
}

#[test]
fn s08_a_server_that_stops_reading_is_told_as_that_and_costs_no_memory() {
    let home = Home::new();
    let gateway = beside(&home, &[], "call_timeout_s: 3, max_concurrency: 0");
    gateway.client.text("a__stop_reading", json!({}));
    let before = resident_kib(gateway.pid());
    // More than the pipe and the queue hold together: 64 MiB.
    let filler = "x".repeat(1024 * 1024);
    let calls: Vec<_> = (0..100).map(|_| gateway.client.start_tool("a__echo", json!({"filler": filler}))).collect();
    let errors: Vec<String> = calls.into_iter().map(gateway::Pending::error).collect();
    assert!(errors.iter().any(|error| error.contains("does not read its input")), "{:?}", errors.last());
    assert!(errors.iter().all(|error| error.contains("\"a\"")));
    let after = resident_kib(gateway.pid());
    assert!(after < before + 160 * 1024, "{before} KiB before, {after} KiB after");
    undisturbed(&gateway);
    gateway.stop();
}

#[test]
fn s09_answers_with_unknown_ids_and_second_answers_are_dropped() {
    let home = Home::new();
    let gateway = beside(&home, &[], "");
    let pid = gateway.client.pid_of("a");
    let lines = gateway.client.lines().len();
    assert_eq!(gateway.client.text("a__bad_ids", json!({})), "first");
    assert_eq!(gateway.client.text("a__echo", json!({})), "{}");
    assert_eq!(gateway.client.lines().len(), lines + 2, "one answer for each call, and nothing else");
    assert_eq!(gateway.client.pid_of("a"), pid);
    let metrics = gateway.client.structured("hangar_metrics", json!({"filter": "stray_messages_total"}));
    let counted = metrics["metrics"].as_str().unwrap().to_owned();
    assert!(counted.lines().any(|line| !line.starts_with('#') && line.ends_with(" 3")), "{counted}");
    undisturbed(&gateway);
    gateway.stop();
}

#[test]
fn s10_a_child_sees_three_descriptors_whatever_the_gateways_parent_left_open() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    // As a careless shell starts it.
    let script = "exec 9</dev/null 200</dev/null; exec \"$0\" \"$@\"";
    let mut child = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_hangar"), "serve", "--config"])
        .arg(home.config())
        .env_clear()
        .env("HOME", home.path(""))
        .env("XDG_RUNTIME_DIR", home.path("run"))
        .env("XDG_STATE_HOME", home.path("state"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let client = gateway::Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    client.initialize(json!({}));
    let open: Value = serde_json::from_str(&client.text("a__fds", json!({}))).unwrap();
    let mut numbers: Vec<_> = open.as_object().unwrap().keys().cloned().collect();
    numbers.sort();
    assert_eq!(numbers, ["0", "1", "2"], "{open}");
    client.close();
    eventually("the gateway ends with its client", SOON, || child.try_wait().unwrap());
}

#[test]
fn s11_the_environment_is_an_allow_list_and_what_is_configured() {
    let home = Home::new();
    let gateway = beside(&home, &[], "env: {CONFIGURED: yes}");
    let variables: Value = serde_json::from_str(&gateway.client.text("a__env", json!({}))).unwrap();
    let mut names: Vec<&str> = variables.as_object().unwrap().keys().map(String::as_str).collect();
    names.retain(|name| !name.starts_with("HANGAR_"));
    names.sort_unstable();
    // DOCKER_HOST, which the gateway itself may have, is not among them.
    assert_eq!(names, ["CONFIGURED", "HOME", "PATH", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"], "{variables}");
    gateway.stop();
}

#[test]
fn s12_pages_without_end_are_an_error_of_that_provider_alone() {
    let home = Home::new();
    let gateway = beside(&home, &["--list", "endless"], "startup_timeout_s: 10");
    let error = gateway.client.start_tool("a__echo", json!({})).error();
    assert!(error.contains("\"a\"") && error.contains("would never end"), "{error}");
    undisturbed(&gateway);
    gateway.stop();
}

#[test]
fn s12_ten_thousand_tools_and_a_schema_of_ten_megabytes_pass_and_more_is_an_error() {
    let home = Home::new();
    for (list, fits) in
        [("many:10000", true), ("large:10000000", true), ("many:21000", false), ("large:17000000", false)]
    {
        let gateway = beside(&home, &["--list", list], "");
        let answer = gateway.client.start_tool("a__echo", json!({})).wait();
        assert_eq!(answer["result"].is_object(), fits, "{list}: {answer}");
        if let Some(error) = answer["error"]["message"].as_str() {
            assert!(error.contains("\"a\""), "{list}: {error}");
        }
        undisturbed(&gateway);
        gateway.stop();
    }
}
