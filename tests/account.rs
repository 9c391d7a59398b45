//! The account of everything: the audit file, the log's level, the metrics of CONTRACT section 6, through the shipped binary.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    sync::Arc,
};

use gateway::{Gateway, Home, SOON, UNWATCHED, Value, config, eventually, json, ms, sha256};

const AUDIT: &str = "audit: {file: ../logs/audit.jsonl}\n";

fn settings(audit: &str) -> String {
    format!("{UNWATCHED}{audit}")
}

fn file(home: &Arc<Home>) -> PathBuf {
    home.path("logs/audit.jsonl")
}

fn lines_of(path: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
}

fn lines(home: &Arc<Home>) -> Vec<Value> {
    lines_of(&file(home))
}

/// Waits for a line of which this holds.
fn line(home: &Arc<Home>, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, || lines(home).into_iter().find(&fits))
}

fn outcome(home: &Arc<Home>, tool: &str, outcome: &str) -> Value {
    line(home, &format!("{tool}: {outcome}"), |line| line["tool"] == tool && line["outcome"] == outcome)
}

fn metric(gateway: &Gateway, name: &str) -> f64 {
    let found = gateway.client.structured("hangar_metrics", json!({"filter": name}));
    let text = found["metrics"].as_str().unwrap().to_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// One request by hand; the whole answer.
fn http(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_call_refusal_reload_start_and_stop_is_one_line_without_values() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::with_settings(&home, &a, &settings(AUDIT));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let arguments = json!({"token": "s3cr3t"});
    let params = json!({"name": "a__echo", "arguments": arguments, "_meta": {"traceparent": parent}});
    let answer = gateway.client.request("tools/call", params);
    gateway.client.tool("a__fail", json!({"text": "s3cr3t"}));
    let batch = json!({"calls": [{"provider": "a", "tool": "echo", "arguments": {"s3cr3t": 1}}]});
    gateway.client.structured("hangar_call", batch);
    assert!(gateway.client.start_tool("a__no_such", json!({})).error().contains("no_such"));
    assert!(gateway.client.start_tool("nobody__x", json!({})).error().contains("nobody__x"));
    let report = gateway.reload_to(&config(&home.provider("a", &[], "idle_ttl_s: 9, "), &settings(AUDIT)), json!({}));
    assert_eq!(report["status"], "success");
    assert_eq!(gateway.reload_to("providers: 1", json!({}))["status"], "failed");
    assert_eq!(fs::metadata(file(&home)).unwrap().permissions().mode() & 0o777, 0o600);
    let pid = gateway.pid();
    gateway.stop();

    let all = lines(&home);
    let text = fs::read_to_string(file(&home)).unwrap();
    assert!(!text.contains("s3cr3t"), "{text}");
    assert!(
        all.iter().all(|line| line["gateway_pid"] == pid && line["time"].as_str().unwrap().ends_with('Z')),
        "{text}"
    );
    let events: Vec<_> = all.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let count = |event: &str| events.iter().filter(|known| **known == event).count();
    assert_eq!((count("GatewayStarted"), count("GatewayStopped")), (1, 1), "{events:?}");
    assert_eq!((count("ProviderStarted"), count("ProviderStopped")), (1, 1), "{events:?}");
    assert_eq!((count("ConfigurationReloaded"), count("ConfigurationReloadFailed")), (2, 1), "{events:?}");
    // Three calls, a batch and the call in it, two reloads; what the provider does not know it says itself.
    assert_eq!((count("CallFinished"), count("RequestRefused")), (7, 1), "{text}");
    assert_eq!(events.last(), Some(&"GatewayStopped"));

    let calls: Vec<_> = all.iter().filter(|line| line["event"] == "CallFinished").collect();
    let echo = calls[0];
    assert_eq!(echo["provider"], "a");
    assert_eq!(echo["tool"], "echo");
    assert_eq!(echo["method"], "tools/call");
    assert_eq!(echo["client"], "test");
    assert_eq!(echo["outcome"], "success");
    assert_eq!(echo["request_id"], answer["id"]);
    assert_eq!(echo["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(echo["arguments_sha256"], sha256(&arguments.to_string()));
    assert!(echo["bytes_in"].as_u64().unwrap() > 100 && echo["bytes_out"].as_u64().unwrap() > 30, "{echo}");
    assert!(echo["duration_ms"].as_f64().unwrap() > 0.0, "{echo}");
    assert_eq!((&calls[1]["tool"], &calls[1]["outcome"]), (&json!("fail"), &json!("tool_error")));
    assert_eq!((&calls[2]["tool"], &calls[2]["provider"]), (&json!("echo"), &json!("a")), "the call of the batch");
    assert_eq!((&calls[3]["tool"], &calls[3]["provider"]), (&json!("hangar_call"), &Value::Null));
    assert_eq!(calls[2]["request_id"], calls[3]["request_id"]);
    let refused: Vec<_> = all.iter().filter(|line| line["event"] == "RequestRefused").collect();
    assert_eq!(refused[0]["error"], "unknown", "{}", refused[0]);
    assert_eq!((&calls[4]["tool"], &calls[4]["outcome"]), (&json!("no_such"), &json!("upstream_error")));
    assert_eq!((&refused[0]["tool"], &refused[0]["provider"]), (&json!("nobody__x"), &Value::Null));
}

#[test]
fn what_becomes_of_a_task_is_written_down_as_its_calls_are() {
    let home = Home::new();
    let gateway = Gateway::with_settings(&home, &home.provider("a", &["--tasks"], ""), &settings(AUDIT));
    let call = json!({"name": "a__task", "arguments": {"ms": 1}, "task": {"ttl": 60_000}});
    let made = gateway.client.request("tools/call", call);
    let id = &made["result"]["task"]["taskId"];
    let done = gateway.client.request("tasks/result", json!({"taskId": id}));
    assert!(done["result"]["content"].is_array(), "{done}");
    let told = line(&home, "the result", |line| line["method"] == "tasks/result");
    assert_eq!((&told["provider"], &told["outcome"]), (&json!("a"), &json!("success")), "{told}");
    assert_eq!((&told["tool"], &told["request_id"]), (&json!("task-1"), &done["id"]), "the provider's own id: {told}");
    gateway.stop();
}

#[test]
fn how_a_call_failed_is_told() {
    let home = Home::new();
    let providers =
        home.provider("a", &[], "call_timeout_s: 0.5, ") + &home.provider("b", &[], "") + &home.provider("c", &[], "");
    let gateway = Gateway::with_settings(&home, &providers, &settings(AUDIT));
    gateway.client.start_tool("a__sleep", json!({"ms": 60000})).error();
    assert_eq!(outcome(&home, "sleep", "timeout")["error"], "timeout");
    gateway.client.start_tool("b__exit", json!({"code": 3})).error();
    let died = outcome(&home, "exit", "unavailable");
    assert_eq!((&died["provider"], &died["error"]), (&json!("b"), &json!("provider_exited")));
    let id = {
        let call = gateway.client.start_tool("c__sleep", json!({"ms": 60000}));
        eventually("the call runs", SOON, || (gateway.provider("c")["calls_in_flight"] == 1).then_some(call.id))
    };
    gateway.client.notify("notifications/cancelled", json!({"requestId": id}));
    let cancelled = outcome(&home, "sleep", "cancelled");
    assert_eq!((&cancelled["provider"], &cancelled["request_id"]), (&json!("c"), &json!(id)));
    gateway.stop();
}

#[test]
fn of_a_group_it_is_told_which_member_had_the_call() {
    let home = Home::new();
    let groups = "groups: {g: {members: [{id: a}]}}\n";
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &settings(&format!("{AUDIT}{groups}")));
    gateway.client.text("g__echo", json!({}));
    let told = outcome(&home, "echo", "success");
    assert_eq!((&told["provider"], &told["group"]), (&json!("a"), &json!("g")));
    gateway.stop();
}

#[test]
fn the_file_is_put_aside_when_it_has_grown() {
    let home = Home::new();
    let audit = "audit: {file: ../logs/audit.jsonl, max_size: 64k, keep: 2}\n";
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &settings(audit));
    let aside = |number: u32| home.path(&format!("logs/audit.jsonl.{number}"));
    // A line of a call is longer than 250 bytes.
    for _ in 0..20 {
        let calls: Vec<_> = (0..50).map(|_| gateway.client.start_tool("a__echo", json!({}))).collect();
        calls.into_iter().for_each(|call| drop(call.wait()));
    }
    gateway.stop();
    for path in [file(&home), aside(1), aside(2)] {
        let length = fs::metadata(&path).unwrap().len();
        assert!(length <= 64 * 1024 && !lines_of(&path).is_empty(), "{}: {length}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!aside(3).exists());
    let last = lines(&home);
    assert_eq!(last.last().unwrap()["event"], "GatewayStopped");
}

#[test]
fn a_file_that_was_moved_away_is_made_anew() {
    let home = Home::new();
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &settings(AUDIT));
    gateway.client.text("a__echo", json!({}));
    outcome(&home, "echo", "success");
    fs::rename(file(&home), home.path("logs/old")).unwrap();
    gateway.client.tool("a__fail", json!({}));
    outcome(&home, "fail", "tool_error");
    assert!(!lines(&home).iter().any(|line| line["tool"] == "echo"));
    gateway.stop();
}

#[test]
fn a_full_disk_holds_no_call_up_and_the_gap_is_told() {
    let home = Home::new();
    symlink("/dev/full", file(&home)).unwrap();
    let gateway = Gateway::with_settings(&home, &home.provider("a", &[], ""), &settings(AUDIT));
    for _ in 0..20 {
        gateway.client.text("a__echo", json!({}));
    }
    gateway.wait_for_log("audit_not_written");
    let lost = eventually("they are counted", SOON, || {
        Some(metric(&gateway, "hangar_audit_lost_total")).filter(|lost| *lost >= 20.0)
    });
    assert_eq!(metric(&gateway, "hangar_audit_records_total"), 0.0);
    fs::remove_file(file(&home)).unwrap();
    gateway.client.tool("a__fail", json!({}));
    outcome(&home, "fail", "tool_error");
    let gap = lines(&home)[0].clone();
    assert_eq!(gap["event"], "AuditRecordsLost", "{gap}");
    assert!(gap["records"].as_f64().unwrap() >= lost, "{gap}, {lost}");
    gateway.wait_for_log("audit_written_again");
    assert_eq!(gateway.log().matches("audit_not_written").count(), 1, "{}", gateway.log());
    gateway.stop();
}

#[test]
fn a_line_that_was_cut_is_ended_before_the_next() {
    let home = Home::new();
    fs::write(file(&home), "{\"cut\":").unwrap();
    let gateway = Gateway::with_settings(&home, "", &settings(AUDIT));
    gateway.wait_for_log("gateway_started");
    gateway.stop();
    let text = fs::read_to_string(file(&home)).unwrap();
    let (cut, rest) = text.split_once('\n').unwrap();
    assert_eq!(cut, "{\"cut\":");
    assert!(rest.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{rest}");
}

#[test]
fn a_reload_turns_it_on_moves_it_and_turns_it_off() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    gateway.client.text("a__echo", json!({}));
    let report = gateway.reload_to(&config(&a, &settings(AUDIT)), json!({}));
    assert_eq!((&report["settings_updated"], &report["providers_unchanged"]), (&json!(["audit.file"]), &json!(["a"])));
    assert_eq!(report["restart_required"], json!([]));
    gateway.client.text("a__echo", json!({}));
    outcome(&home, "echo", "success");
    gateway.reload_to(&config(&a, &settings("audit: {file: ../logs/other.jsonl}\n")), json!({}));
    let before = lines(&home).len();
    gateway.client.tool("a__fail", json!({}));
    let other = home.path("logs/other.jsonl");
    eventually("the other file has it", SOON, || {
        lines_of(&other).iter().any(|line| line["tool"] == "fail").then_some(())
    });
    assert_eq!(lines(&home).len(), before);
    gateway.reload_to(&config(&a, UNWATCHED), json!({}));
    let length = eventually("it is quiet", SOON, || {
        let length = fs::metadata(&other).unwrap().len();
        std::thread::sleep(ms(100));
        (fs::metadata(&other).unwrap().len() == length).then_some(length)
    });
    gateway.client.text("a__echo", json!({}));
    std::thread::sleep(ms(100));
    assert_eq!(fs::metadata(&other).unwrap().len(), length);
    for (bad, says) in [
        ("../nowhere/audit.jsonl", "directory is not there"),
        ("../logs", "is a directory"),
        ("config.yaml", "the configuration itself"),
    ] {
        let report = gateway.reload_to(&config(&a, &settings(&format!("audit: {{file: {bad}}}\n"))), json!({}));
        let problem = &report["problems"][0];
        assert_eq!((&problem["code"], &problem["path"]), (&json!("HGR0340"), &json!("audit.file")), "{report}");
        assert!(problem["message"].as_str().unwrap().contains(says), "{problem}");
    }
    gateway.stop();
}

#[test]
fn who_is_refused_by_the_guard_is_written_down() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http_with(&home, "", &settings(AUDIT));
    assert!(http(address, "/api/status", "Host: evil.example\r\n").starts_with("HTTP/1.1 403"));
    let headers = format!("Host: {address}\r\nOrigin: http://evil.example\r\n");
    assert!(http(address, "/mcp", &headers).starts_with("HTTP/1.1 403"));
    let host = line(&home, "the host", |line| line["error"] == "host_not_allowed");
    assert_eq!((&host["event"], &host["host"]), (&json!("RequestRefused"), &json!("evil.example")));
    assert_eq!(host["path"], "/api/status");
    let origin = line(&home, "the origin", |line| line["error"] == "origin_not_allowed");
    assert_eq!(origin["origin"], "http://evil.example");
    drop(gateway);
}

#[test]
fn the_level_of_the_log_changes_by_reload() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    let calls = || gateway.log().lines().filter(|line| line.contains(" call ")).count();
    gateway.client.text("a__echo", json!({}));
    let report = gateway.reload_to(&config(&a, &settings("logging: {level: debug}\n")), json!({}));
    assert_eq!((&report["settings_updated"], &report["restart_required"]), (&json!(["logging.level"]), &json!([])));
    assert_eq!(calls(), 0, "{}", gateway.log());
    gateway.client.text("a__echo", json!({}));
    eventually("the call is logged", SOON, || (calls() == 1).then_some(()));
    gateway.reload(&a);
    gateway.client.text("a__echo", json!({}));
    gateway.client.text("a__echo", json!({}));
    std::thread::sleep(ms(100));
    assert_eq!(calls(), 1, "{}", gateway.log());
    gateway.stop();
}

#[test]
fn every_metric_of_the_contract_is_there_and_moves() {
    let home = Home::new();
    let short = home.provider("b", &[], "drain_timeout_s: 0.2, ");
    let a = home.provider("a", &[], "");
    let (gateway, address) = Gateway::over_http_with(&home, &(a.clone() + &short), UNWATCHED);
    let scrape = || http(address, "/metrics", &format!("Host: {address}\r\n"));
    // What has no value before the first of its kind.
    let before = scrape();
    for absent in ["hangar_calls_total{", "hangar_provider_starts_total{", "hangar_provider_stops_total{"] {
        assert!(!before.contains(absent), "{absent}: {before}");
    }
    let mut session = gateway::HttpSession::open(address);
    session.call("a__echo", json!({}));
    session.call("a__fail", json!({}));
    // One call of `b` that its drain does not wait for.
    let mut other = gateway::HttpSession::open(address);
    let cut = std::thread::spawn(move || other.call("b__sleep", json!({"ms": 30000})));
    eventually("the call runs", SOON, || scrape().contains("hangar_calls_in_flight{provider=\"b\"} 1").then_some(()));
    home.put(&config(&a, UNWATCHED));
    session.call("hangar_reload_config", json!({}));
    cut.join().unwrap();
    home.put("providers: 1");
    session.call("hangar_reload_config", json!({}));
    let wanted = [
        "hangar_config_reloads_total{trigger=\"boot\",result=\"success\"} 1",
        "hangar_config_reloads_total{trigger=\"mcp_tool\",result=\"success\"} 1",
        "hangar_config_reloads_total{trigger=\"mcp_tool\",result=\"failed\"} 1",
        "hangar_config_reload_duration_seconds_count 3",
        "hangar_config_reload_duration_seconds_bucket{le=",
        "hangar_config_last_reload_successful 0",
        "hangar_config_last_reload_success_timestamp_seconds 1",
        "hangar_config_info{generation=\"2\",sha256=\"",
        "hangar_provider_state{provider=\"a\",state=\"ready\"} 1",
        "hangar_provider_state{provider=\"a\",state=\"cold\"} 0",
        "hangar_provider_starts_total{provider=\"a\"} 1",
        "hangar_provider_stops_total{provider=\"b\",reason=\"removed\"} 1",
        "hangar_provider_cold_start_seconds_count{provider=\"a\"} 1",
        "hangar_provider_cold_start_seconds_bucket{le=",
        "hangar_calls_total{provider=\"a\",tool=\"echo\",outcome=\"success\"} 1",
        "hangar_calls_total{provider=\"a\",tool=\"fail\",outcome=\"tool_error\"} 1",
        "hangar_calls_total{provider=\"b\",tool=\"sleep\",outcome=\"unavailable\"} 1",
        "hangar_call_duration_seconds_count{provider=\"a\"} 2",
        "hangar_call_duration_seconds_bucket{le=",
        "hangar_calls_in_flight{provider=\"a\"} 0",
        "hangar_drain_duration_seconds_count 1",
        "hangar_drain_timeouts_total 1",
        "hangar_sessions 2",
        "hangar_build_info{version=\"",
    ];
    let missing = eventually_none(&wanted, scrape);
    assert!(missing.is_empty(), "{missing:?} not in {}", scrape());
    drop(gateway);
}

/// Those that the text does not come to hold in time.
fn eventually_none<'w>(wanted: &[&'w str], text: impl Fn() -> String) -> Vec<&'w str> {
    let began = std::time::Instant::now();
    loop {
        let now = text();
        let missing: Vec<_> = wanted.iter().copied().filter(|wanted| !now.contains(wanted)).collect();
        if missing.is_empty() || began.elapsed() > SOON {
            return missing;
        }
        std::thread::sleep(ms(20));
    }
}
