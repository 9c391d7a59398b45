//! Health, metrics and the admin API.

use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::rig::{Conn, Running, call, eventually, provider, start_gateway, with_one_provider};

const JSON: &str = "Content-Type: application/json";

#[test]
fn health_is_answered_whatever_the_providers_do() {
    let gateway = start_gateway(&format!("providers:\n{}", provider("t", "--handshake, hang")));
    let mut listing = gateway.connect();
    let session = gateway.session("2025-11-25");
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    listing.mcp(&gateway.address, Some(&session), &list);
    eventually("it hangs", || (gateway.get("/api/providers/t").json()["state"] == "initializing").then_some(()));
    let began = std::time::Instant::now();
    for path in ["live", "ready", "startup"] {
        let answer = gateway.get(&format!("/health/{path}"));
        assert_eq!((answer.status, answer.is_json()), (200, true));
    }
    for path in ["/metrics", "/api/status", "/api/providers", "/api/tools", "/api/config", "/"] {
        assert_eq!(gateway.get(path).status, 200);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn metrics_are_open_metrics() {
    let gateway = with_one_provider();
    let session = gateway.session("2025-11-25");
    assert_eq!(gateway.mcp(Some(&session), &call(1, "t__pid", &json!({}))).status, 200);
    let answer = gateway.get("/metrics");
    let kind = answer.header("content-type").expect("a kind");
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "hangar_calls_total{provider=\"t\",tool=\"pid\",outcome=\"success\"} 1",
        "hangar_provider_state{provider=\"t\",state=\"ready\"} 1",
        "hangar_sessions 1",
        "hangar_config_reloads_total{trigger=\"boot\",result=\"success\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn the_api_tells_what_runs_and_starts_and_stops_it() {
    let gateway = with_one_provider();
    let status = gateway.get("/api/status").json();
    assert_eq!((&status["status"], &status["generation"]), (&json!("healthy"), &json!(1)), "{status}");
    assert_eq!(status["address"], gateway.address);
    assert_eq!(status["pid"], gateway.pid());
    assert_eq!(status["last_reload"]["requested_by"], "boot");
    assert_eq!((&status["restart_required"], &status["collisions"]), (&json!([]), &json!([])));
    let list = gateway.get("/api/providers").json();
    assert_eq!((&list["count"], &list["providers"][0]["state"]), (&json!(1), &json!("cold")));
    // What only reads starts nothing.
    let tools = gateway.get("/api/providers/t/tools").json();
    assert_eq!((&tools["known"], &tools["tools"]), (&json!(false), &json!([])));
    assert_eq!(gateway.get("/api/providers/t").json()["state"], "cold");
    let started = gateway.ask("POST", "/api/providers/t/start", &[], b"");
    assert_eq!((started.status, &started.json()["state"]), (200, &json!("ready")), "{}", started.text());
    let details = gateway.get("/api/providers/t").json();
    assert_eq!(details["server_info"]["name"], "test-provider", "{details}");
    let tools = gateway.get("/api/providers/t/tools");
    assert!(tools.text().contains("\"known\":true,\"tools\":[{\"name\":\"echo\""), "{}", tools.text());
    assert!(gateway.get("/api/tools").text().contains("\"t__echo\""));
    let stopped = gateway.ask("POST", "/api/providers/t/stop", &[JSON], b"{}");
    assert_eq!((stopped.status, &stopped.json()["state"]), (200, &json!("cold")), "{}", stopped.text());
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    assert_eq!(gateway.ask("POST", "/api/providers/t/start", &form, b"a=b").status, 415);
    assert_eq!(gateway.ask("POST", "/api/providers/t/start", &[JSON], b"{\"command\":[]}").status, 400);
    for (method, path) in [("GET", ""), ("GET", "/tools"), ("GET", "/logs"), ("POST", "/start"), ("POST", "/stop")] {
        let missing = gateway.ask(method, &format!("/api/providers/tt{path}"), &[], b"");
        assert_eq!((missing.status, &missing.json()["error"]), (404, &json!("unknown_provider")), "{path}");
        assert!(missing.json()["message"].as_str().is_some_and(|m| m.contains("did you mean \"t\"")), "{missing:?}");
    }
}

#[test]
fn a_provider_that_does_not_start_says_why() {
    let yaml = format!(
        "providers:\n{}{}    enabled: false\n",
        provider("t", "--handshake, \"exit:7\""),
        provider("off", "--name, off")
    );
    let gateway = start_gateway(&yaml);
    let failed = gateway.ask("POST", "/api/providers/t/start", &[], b"");
    assert_eq!((failed.status, &failed.json()["error"]), (503, &json!("provider_not_started")), "{}", failed.text());
    assert!(failed.text().contains('7'), "{}", failed.text());
    let off = gateway.ask("POST", "/api/providers/off/start", &[], b"");
    assert_eq!((off.status, &off.json()["error"]), (409, &json!("provider_disabled")), "{}", off.text());
}

#[test]
fn a_call_of_the_command_line_passes_bytes_through() {
    let gateway = with_one_provider();
    let call = |body: &str| gateway.ask("POST", "/api/providers/t/call", &[JSON], body.as_bytes());
    let arguments = r#"{"z":1.10,"a":12345678901234567890123,"e":"\u00e9"}"#;
    let answer = call(&format!(r#"{{"tool":"structured","arguments":{arguments}}}"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains(&format!("\"structuredContent\":{arguments}")), "{}", answer.text());
    assert!(call(r#"{"tool":"pid"}"#).json()["content"][0]["text"].is_string());
    let timeout = call(r#"{"tool":"sleep","arguments":{"ms":60000},"timeout_s":0.2}"#);
    assert_eq!((timeout.status, &timeout.json()["error"]), (504, &json!("timeout")), "{}", timeout.text());
    let upstream = call(r#"{"tool":"rpc_error","arguments":{"code":-32001,"message":"no"}}"#);
    assert_eq!((upstream.status, &upstream.json()["error"]), (502, &json!("upstream_error")));
    assert_eq!(upstream.json()["details"]["upstream_error"]["code"], -32001, "{}", upstream.text());
    let gone = call(r#"{"tool":"exit","arguments":{"code":3}}"#);
    assert_eq!((gone.status, &gone.json()["error"]), (502, &json!("provider_exited")), "{}", gone.text());
    for (body, says) in [
        (r#"{"arguments":{}}"#, "\"tool\" is missing"),
        (r#"{"tool":7}"#, "\"tool\" must be a string"),
        (r#"{"tool":"pid","arguments":[]}"#, "\"arguments\" must be an object"),
        (r#"{"tool":"pid","timeout_s":0}"#, "\"timeout_s\""),
        (r#"{"tool":"pid","image":"x"}"#, "unknown field \"image\""),
    ] {
        let refused = call(body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.json()["message"].as_str().is_some_and(|m| m.contains(says)), "{body}: {}", refused.text());
    }
    let missing = gateway.ask("POST", "/api/providers/nobody/call", &[JSON], br#"{"tool":"pid"}"#);
    assert_eq!(missing.status, 404);
}

#[test]
fn logs_are_listed_and_followed() {
    let gateway = with_one_provider();
    let wrote = |bytes: u64| {
        let body = json!({"tool": "stderr", "arguments": {"bytes": bytes}});
        assert_eq!(gateway.post_json("/api/providers/t/call", &body).status, 200);
    };
    wrote(200);
    let lines = eventually("lines", || {
        let lines = gateway.get("/api/providers/t/logs").json()["lines"].clone();
        lines.as_array().is_some_and(|lines| !lines.is_empty()).then_some(lines)
    });
    assert!(lines[0].is_string());
    assert_eq!(gateway.get("/api/providers/t/logs?limit=x").status, 400);
    let mut follow = gateway.connect();
    follow.request(&gateway.address, "GET", "/api/providers/t/logs?follow=1&limit=0", &[], b"");
    assert_eq!(follow.head().status, 200);
    assert_eq!(
        gateway.post_json("/api/providers/t/call", &json!({"tool": "noise", "arguments": {"lines": 2}})).status,
        200
    );
    let mut seen = Vec::new();
    while !seen.contains(&json!({"line": "noise 1"})) {
        seen.extend(follow.events().expect("lines"));
    }
    assert!(seen.contains(&json!({"line": "noise 0"})), "{seen:?}");
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let yaml =
        format!("providers:\n{}    env: {{API_KEY: \"s3cr3t-value\"}}\n", provider("t", "--name, s3cr3t-argument"));
    let gateway = start_gateway(&yaml);
    let answer = gateway.get("/api/config");
    let config = answer.json();
    assert_eq!(config["providers"]["t"]["launch"]["env"], json!(["API_KEY"]), "{config}");
    assert_eq!((&config["generation"], config["config_sha256"].as_str().map(str::len)), (&json!(1), Some(64)));
    assert_eq!(config["server"]["session_idle_s"], 3600.0);
    for path in ["/api/config", "/api/status", "/api/providers", "/api/providers/t", "/api/events", "/metrics"] {
        assert!(!gateway.get(path).text().contains("s3cr3t"), "{path}");
    }
}

fn reload(gateway: &Running, body: &Value) -> crate::rig::Answer {
    gateway.post_json("/api/config/reload", body)
}

#[test]
fn a_reload_reports_what_it_did_and_who_asked() {
    let gateway = with_one_provider();
    let both = format!("providers:\n{}{}", provider("t", "--log-starts, starts"), provider("u", "--name, u"));
    gateway.write_config(&both);
    let diff = gateway.get("/api/config/diff");
    assert_eq!((diff.status, &diff.json()["providers_added"]), (200, &json!(["u"])), "{}", diff.text());
    assert_eq!((&diff.json()["dry_run"], &diff.json()["generation"]), (&json!(true), &json!(1)));
    let report = reload(&gateway, &json!({"graceful": true, "verify": true}));
    assert_eq!((report.status, &report.json()["providers_added"]), (200, &json!(["u"])), "{}", report.text());
    assert_eq!((&report.json()["requested_by"], &report.json()["generation"]), (&json!("http"), &json!(2)));
    let by_cli = gateway.ask("POST", "/api/config/reload", &["X-Hangar-Client: cli"], b"");
    assert_eq!((by_cli.status, &by_cli.json()["requested_by"]), (200, &json!("cli")), "{}", by_cli.text());
    for (body, says) in [
        (json!({"gracefull": true}), "unknown field \"gracefull\""),
        (json!({"path": "/tmp/x"}), "unknown field \"path\""),
        (json!({"graceful": "yes"}), "\"graceful\" must be true or false"),
        (json!({"dry_run": 1}), "\"dry_run\" must be true or false"),
        (json!([true]), "not a JSON object"),
    ] {
        let refused = reload(&gateway, &body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.json()["message"].as_str().is_some_and(|m| m.contains(says)), "{}", refused.text());
    }
    let typed = gateway.ask("POST", "/api/config/reload", &["Content-Type: text/plain"], b"{}");
    assert_eq!(typed.status, 415);
    gateway.write_config("providers:\n  t: {command: 7}\n");
    let failed = reload(&gateway, &json!({}));
    assert_eq!((failed.status, &failed.json()["status"]), (422, &json!("failed")), "{}", failed.text());
    assert_eq!(failed.json()["problems"][0]["path"], "providers.t.command", "{}", failed.text());
    assert_eq!(gateway.get("/api/status").json()["last_reload"]["status"], "failed");
    gateway.write_config(&format!("{both}server: {{port: 9}}\n"));
    assert_eq!(reload(&gateway, &json!({})).json()["restart_required"], json!(["server.port"]));
    assert_eq!(gateway.get("/api/status").json()["restart_required"], json!(["server.port"]));
}

#[test]
fn events_are_listed_and_streamed() {
    let gateway = start_gateway("providers: {}\n");
    let events = gateway.get("/api/events?limit=1").json();
    assert_eq!(events["count"], 1);
    assert_eq!(gateway.get("/api/events?limit=-1").status, 400);
    let mut stream = gateway.connect();
    stream.request(&gateway.address, "GET", "/api/events?stream=1", &["Last-Event-ID: 1"], b"");
    assert_eq!(stream.head().header("content-type"), Some("text/event-stream"));
    reload(&gateway, &json!({}));
    let mut seen: Vec<Value> = Vec::new();
    while seen.iter().filter(|event| event["event"] == "ConfigurationReloaded").count() < 2 {
        seen.extend(stream.events().expect("events"));
    }
    let numbers: Vec<_> = seen.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (2..2 + numbers.len() as u64).collect::<Vec<_>>(), "each once, in order: {seen:?}");
}

#[test]
fn the_dashboard_needs_nothing_from_elsewhere() {
    let gateway = start_gateway("providers: {}\n");
    let page = gateway.get("/");
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!page.text().contains("http://") && !page.text().contains("https://"));
}

#[test]
fn the_admin_socket_serves_programs_and_no_pages() {
    let gateway = with_one_provider();
    let socket = gateway.get("/api/status").json()["socket"].as_str().map(str::to_owned).expect("a socket");
    let ask = |headers: &[&str]| {
        let mut conn = Conn::over(UnixStream::connect(&socket).expect("it accepts"));
        conn.request("localhost", "GET", "/api/status", headers, b"");
        conn.answer()
    };
    assert_eq!(ask(&[]).status, 200);
    assert_eq!(ask(&["Host: evil.example"]).status, 403);
    assert_eq!(ask(&["Origin: http://localhost"]).status, 403);
}
