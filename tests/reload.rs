//! What a reload does and does not do, through the shipped binary. CONTRACT section 2, PITFALLS sections 1 and 2.

#[path = "support/gateway.rs"]
mod gateway;

use std::{fs, time::Instant};

use gateway::{Gateway, Home, SOON, Signal, UNWATCHED, config, eventually, holds_for, json, ms, sha256};

#[test]
fn an_added_provider_is_cold_and_listed() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let report = gateway.reload(&(home.provider("a", &[], "") + &home.provider("b", &[], "")));
    assert_eq!(report["status"], "success");
    assert_eq!(report["providers_added"], json!(["b"]));
    assert_eq!(report["providers_unchanged"], json!(["a"]));
    assert_eq!(gateway.state("b"), "cold");
    assert_eq!(home.start_count("b"), 0, "nothing is started by being added");
    assert!(gateway.client.tools().contains(&"b__echo".to_owned()));
    gateway.stop();
}

#[test]
fn p21_a_removed_provider_finishes_its_call_and_is_gone() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 700}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    let report = gateway.reload("");
    assert_eq!(report["providers_removed"], json!(["a"]));
    assert_eq!(report["draining"], json!(["a"]), "{report}");
    let refused = gateway.client.start_tool("a__echo", json!({})).error();
    assert!(refused.contains("a__echo"), "{refused}");
    assert_eq!(call.wait()["result"]["content"][0]["text"], "slept");
    home.assert_nothing_left(SOON);
    assert_eq!(gateway.state("a"), "gone");
    assert!(!gateway.client.tools().iter().any(|name| name.starts_with("a__")));
    gateway.stop();
}

#[test]
fn p24_an_updated_provider_never_has_two_processes_and_a_call_waits_for_the_old_ones_end() {
    let home = Home::new();
    let version = |v: &str| home.provider("a", &["--version", v], "");
    let gateway = Gateway::start(&home, &version("1"));
    let old = gateway.client.pid_of("a");
    let running = gateway.client.start_tool("a__sleep", json!({"ms": 800}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    let began = Instant::now();
    let report = gateway.reload(&version("2"));
    assert!(began.elapsed() < ms(600), "the reply waits for no drain");
    assert_eq!(report["providers_updated"], json!(["a"]));
    assert_eq!(report["changed_fields"], json!({"a": ["command"]}));
    assert_eq!(gateway.state("a"), "cold");
    let new = gateway.client.pid_of("a");
    assert_eq!(running.within(ms(0)).expect("the old call ended first")["result"]["content"][0]["text"], "slept");
    assert_ne!(old, new);
    assert_eq!(home.assert_never_two("a"), 2);
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn an_unchanged_provider_keeps_its_process_and_its_session() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    let pid = gateway.client.pid_of("a");
    gateway.client.tool("a__add_tool", json!({"name": "only_in_this_session"}));
    for change in ["x", "y"] {
        gateway.reload(&(a.clone() + &home.provider(change, &[], "")));
    }
    assert_eq!(gateway.client.pid_of("a"), pid);
    assert_eq!(gateway.client.text("a__only_in_this_session", json!({})), "only_in_this_session {}");
    assert_eq!(home.start_count("a"), 1);
    gateway.stop();
}

#[test]
fn h06_an_invalid_file_moves_nothing_and_every_problem_is_told_with_its_place() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    let (pid, generation) = (gateway.client.pid_of("a"), gateway.generation());
    let bad = config(&format!("{a}  b: {{comand: [x]}}\n  c: {{command: [no-such-program-here]}}\n"), UNWATCHED);
    let report = gateway.reload_to(&bad, json!({}));
    assert_eq!(report["status"], "failed");
    assert_eq!(report["requested_by"], "mcp_tool");
    assert_eq!(report["generation"], generation);
    let problems = report["problems"].as_array().unwrap();
    let place = |path: &str| {
        let found = problems.iter().find(|p| p["path"] == path).unwrap_or_else(|| panic!("{path}: {report:#}"));
        (found["line"].as_u64().unwrap(), found["column"].as_u64().unwrap())
    };
    assert_eq!(place("providers.b.comand"), (4, 7));
    assert_eq!(place("providers.c.command[0]").0, 5);
    assert!(problems.iter().all(|p| p["code"].as_str().unwrap().starts_with("HGR")));
    assert_eq!(gateway.client.pid_of("a"), pid);
    assert_eq!(gateway.generation(), generation);
    assert_eq!(gateway.client.structured("hangar_status", json!({}))["last_reload"]["status"], "failed");
    gateway.stop();
}

#[test]
fn h06_yaml_errors_empty_and_missing_files_say_what_is_wrong() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let pid = gateway.client.pid_of("a");
    for text in ["providers: {a: [", "", "providers:\n", "a: &x [*x", "- a list"] {
        let report = gateway.reload_to(text, json!({}));
        assert_eq!(report["status"], "failed", "{text:?}");
        let problem = &report["problems"][0];
        assert!(
            problem["line"].is_u64() && problem["message"].as_str().is_some_and(|m| m.len() > 10),
            "{text:?}: {report:#}"
        );
        assert!(["parse", "validate"].contains(&report["stage"].as_str().unwrap()), "{text:?}: {report:#}");
    }
    fs::remove_file(home.config()).unwrap();
    let missing = gateway.client.tool("hangar_reload_config", json!({}));
    assert_eq!(missing["isError"], true);
    assert_eq!(missing["structuredContent"]["stage"], "read");
    assert!(missing["structuredContent"]["message"].as_str().unwrap().contains("config.yaml"), "{missing}");
    assert_eq!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn h07_a_spec_that_can_never_start_replaces_nothing() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let pid = gateway.client.pid_of("a");
    for spec in [
        "{}",
        "{command: null}",
        "{command: text}",
        "{command: [/no/such/program]}",
        "{mode: remote}",
        "{mode: docker}",
    ] {
        let report = gateway.reload(&format!("  a: {spec}\n"));
        assert_eq!(report["status"], "failed", "{spec}: {report}");
        assert!(report["problems"][0]["path"].as_str().unwrap().starts_with("providers.a"), "{spec}: {report}");
    }
    assert_eq!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn a_provider_switched_off_leaves_and_comes_back() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.client.pid_of("a");
    let report = gateway.reload(&home.provider("a", &[], "enabled: false"));
    assert_eq!(report["providers_updated"], json!(["a"]));
    assert_eq!(report["changed_fields"]["a"], json!(["enabled"]));
    home.assert_nothing_left(SOON);
    assert_eq!(gateway.provider("a")["enabled"], false);
    assert!(!gateway.client.tools().iter().any(|name| name.starts_with("a__")));
    gateway.client.start_tool("a__echo", json!({})).error();
    let report = gateway.reload(&home.provider("a", &[], ""));
    assert_eq!(report["providers_updated"], json!(["a"]));
    gateway.client.pid_of("a");
    assert_eq!(home.assert_never_two("a"), 2);
    gateway.stop();
}

#[test]
fn h20_a_reload_that_is_not_graceful_gives_each_call_one_error_at_once() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--version", "1"], ""));
    gateway.client.pid_of("a");
    let calls: Vec<_> = (0..5).map(|_| gateway.client.start_tool("a__sleep", json!({"ms": 15000}))).collect();
    eventually("the calls run", SOON, || (gateway.provider("a")["calls_in_flight"] == 5).then_some(()));
    let began = Instant::now();
    let yaml = config(&home.provider("a", &["--version", "2"], ""), UNWATCHED);
    assert_eq!(gateway.reload_to(&yaml, json!({"graceful": false}))["status"], "success");
    let ids: Vec<_> = calls.iter().map(|call| call.id).collect();
    for call in calls {
        let error = call.error();
        assert!(error.contains("\"a\"") && error.contains("updated"), "{error}");
    }
    assert!(began.elapsed() < ms(1500), "{:?}", began.elapsed());
    gateway.client.pid_of("a");
    for id in ids {
        let answers = gateway.client.lines().into_iter().filter(|line| line.contains(&format!("\"id\":{id},"))).count();
        assert_eq!(answers, 1, "call {id}");
    }
    assert_eq!(home.assert_never_two("a"), 2);
    gateway.stop();
}

#[test]
fn a_drain_that_is_over_cuts_the_call_with_one_error_that_names_the_provider() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "drain_timeout_s: 0.3"));
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 15000}));
    eventually("the call runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    let began = Instant::now();
    gateway.reload("");
    let error = call.error();
    assert!(error.contains("\"a\"") && error.contains("removed"), "{error}");
    assert!(began.elapsed() >= ms(250) && began.elapsed() < ms(3000), "{:?}", began.elapsed());
    home.assert_nothing_left(SOON);
    gateway.stop();
}

#[test]
fn a_dry_run_tells_the_difference_and_changes_nothing() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &(home.provider("a", &[], "") + &home.provider("b", &[], "")));
    let (pid, generation, counted) = (gateway.client.pid_of("a"), gateway.generation(), gateway.reloads());
    gateway.client.tools();
    let yaml = config(&(home.provider("a", &[], "idle_ttl_s: 7") + &home.provider("c", &[], "")), UNWATCHED);
    let report = gateway.reload_to(&yaml, json!({"dry_run": true}));
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["providers_added"], json!(["c"]));
    assert_eq!(report["providers_removed"], json!(["b"]));
    assert_eq!(report["changed_fields"], json!({"a": ["idle_ttl_s"]}));
    assert_eq!(report["generation"], generation);
    assert_eq!((gateway.client.pid_of("a"), gateway.generation(), gateway.reloads()), (pid, generation, counted));
    assert_eq!(gateway.state("c"), "gone");
    holds_for("no list_changed", ms(300), || gateway.client.messages("notifications/tools/list_changed").is_empty());
    let again = gateway.reload_to(&yaml, json!({}));
    assert_eq!(again["changed_fields"], report["changed_fields"]);
    assert_eq!(again["generation"], generation + 1);
    gateway.stop();
}

#[test]
fn verify_starts_the_new_one_beside_the_old_and_swaps_them_ready() {
    let home = Home::new();
    let spec = |v: &str| home.provider("a", &["--version", v, "--start-delay", "400"], "");
    let gateway = Gateway::start(&home, &spec("1"));
    let old = gateway.client.pid_of("a");
    home.put(&config(&(spec("2") + &home.provider("b", &[], "")), UNWATCHED));
    let reload = gateway.client.start_tool("hangar_reload_config", json!({"verify": true}));
    eventually("the candidate runs", SOON, || (home.start_count("a") == 2).then_some(()));
    assert_eq!(gateway.client.pid_of("a"), old, "the old one serves until the commit");
    let report = &reload.wait()["result"]["structuredContent"];
    assert_eq!(report["status"], "success", "{report}");
    assert_eq!((gateway.state("a"), gateway.state("b")), ("ready".into(), "ready".into()));
    assert_ne!(gateway.client.pid_of("a"), old);
    assert_eq!((home.start_count("a"), home.start_count("b")), (2, 1), "the candidates are the ones in force");
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn h07_verify_refuses_what_does_not_start_and_leaves_no_candidate() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let (old, generation) = (gateway.client.pid_of("a"), gateway.generation());
    let candidates = home.provider("a", &["--handshake", "exit:7"], "") + &home.provider("b", &[], "");
    let report = gateway.reload_to(&config(&candidates, UNWATCHED), json!({"verify": true}));
    assert_eq!((&report["status"], &report["stage"]), (&json!("failed"), &json!("verify")), "{report}");
    assert_eq!(report["problems"][0]["path"], "providers.a");
    assert!(report["problems"][0]["message"].as_str().unwrap().contains("code 7"), "{report}");
    assert_eq!((gateway.client.pid_of("a"), gateway.generation()), (old, generation));
    eventually("only the old one lives", SOON, || {
        let alive: Vec<_> = ["a", "b"].iter().flat_map(|name| home.beings(name)).filter(|b| b.lives()).collect();
        (alive.len() == 1 && alive[0].pid == old).then_some(())
    });
    assert!(!gateway.client.tools().iter().any(|name| name.starts_with("b__")));
    gateway.stop();
}

#[test]
fn p13_a_reload_of_the_same_bytes_is_no_change_at_all() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "env: {A: '1'}, max_concurrency: 3, idle_ttl_s: 9"));
    let (pid, generation) = (gateway.client.pid_of("a"), gateway.generation());
    gateway.client.tools();
    for _ in 0..3 {
        let report = gateway.client.structured("hangar_reload_config", json!({}));
        assert_eq!(report["providers_unchanged"], json!(["a"]));
        assert_eq!(report["providers_updated"], json!([]));
        assert_eq!(report["generation"], generation);
    }
    assert_eq!(gateway.client.pid_of("a"), pid);
    holds_for("no list_changed", ms(300), || gateway.client.messages("notifications/tools/list_changed").is_empty());
    gateway.stop();
}

#[test]
fn h12_another_spelling_of_the_same_configuration_is_no_change() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "idle_ttl_s: 300"));
    let (pid, generation) = (gateway.client.pid_of("a"), gateway.generation());
    let spelled = "env: {}, args: [], description: null, idle_ttl_s: 300.0, enabled: true, tools: {allow: ['*']}";
    let report = gateway.reload(&home.provider("a", &[], spelled));
    assert_eq!(report["providers_unchanged"], json!(["a"]), "{report}");
    assert_eq!(report["generation"], generation);
    assert_eq!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn p08_the_checksum_is_of_the_very_bytes_in_force_and_a_comment_changes_it_alone() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    let before = gateway.client.structured("hangar_reload_config", json!({}));
    let text = config(&a, &format!("# a comment\n{UNWATCHED}"));
    let after = gateway.reload_to(&text, json!({}));
    assert_ne!(after["config_sha256"], before["config_sha256"]);
    assert_eq!(after["config_sha256"], sha256(&text));
    assert_eq!(after["generation"], before["generation"]);
    assert_eq!(gateway.client.structured("hangar_status", json!({}))["config_sha256"], sha256(&text));
    gateway.stop();
}

#[test]
fn h08_the_log_level_is_applied_live() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    let pid = gateway.client.pid_of("a");
    assert!(!gateway.log().contains("DEBUG"));
    let report = gateway.reload_to(&config(&a, &format!("{UNWATCHED}logging: {{level: debug}}\n")), json!({}));
    assert_eq!(report["providers_unchanged"], json!(["a"]));
    assert_eq!(report["restart_required"], json!([]));
    assert_eq!(report["generation"], 2);
    gateway.client.text("a__echo", json!({}));
    gateway.wait_for_log("DEBUG");
    assert_eq!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn p28_h08_what_needs_a_restart_is_named_and_the_rest_applies() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let two = home.provider("a", &[], "") + &home.provider("b", &[], "");
    let changed = config(&two, &format!("{UNWATCHED}server: {{port: 9321}}\n"));
    let report = gateway.reload_to(&changed, json!({}));
    assert_eq!(report["restart_required"], json!(["server.port"]), "{report}");
    assert_eq!(report["providers_added"], json!(["b"]));
    gateway.client.pid_of("b");
    let still = gateway.client.structured("hangar_reload_config", json!({}));
    assert_eq!(still["restart_required"], json!(["server.port"]), "until the restart");
    assert_eq!(gateway.reload(&two)["restart_required"], json!([]));
    gateway.stop();
}

#[test]
fn clients_are_told_once_per_commit_after_the_new_list_is_live() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &a);
    gateway.client.tools();
    for (round, extra) in ["x", "y", "z"].into_iter().enumerate() {
        let b = home.provider("b", &["--tools", extra], "");
        gateway.reload(&(a.clone() + &b));
        gateway.client.wait_messages("notifications/tools/list_changed", round + 1);
        assert!(gateway.client.tools().contains(&format!("b__{extra}")));
        holds_for("told once", ms(300), || {
            gateway.client.messages("notifications/tools/list_changed").len() == round + 1
        });
    }
    gateway.stop();
}

#[test]
fn h11_sighup_tool_and_boot_are_told_apart_in_log_metric_and_status() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    home.put(&config(&home.provider("b", &[], ""), UNWATCHED));
    gateway.signal(Signal::HUP);
    eventually("the reload", SOON, || (gateway.generation() == 2).then_some(()));
    gateway.client.structured("hangar_reload_config", json!({}));
    let (count, lines) = gateway.reloads();
    for trigger in ["boot", "sighup", "mcp_tool"] {
        assert!(lines.contains(&format!("trigger=\"{trigger}\",result=\"success\"}} 1")), "{lines}");
    }
    assert_eq!(count, 3);
    gateway.wait_for_log("configuration_reloaded requested_by=\"sighup\"");
    for name in ["config_reload_worker_started", "triggering_config_reload", "provider_added", "provider_removed"] {
        assert!(gateway.log().contains(name), "{name}");
    }
    gateway.stop();
}

#[test]
fn p30_the_tool_takes_no_path() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    for arguments in [json!({"path": "/tmp/other.yaml"}), json!({"config": "x"}), json!({"graceful": "yes"})] {
        let refused = gateway.client.tool("hangar_reload_config", arguments);
        assert_eq!(refused["isError"], true, "{refused}");
    }
    assert_eq!(gateway.reloads().0, 1);
    gateway.stop();
}

#[test]
fn p31_h15_no_secret_of_a_change_is_ever_told() {
    let home = Home::new();
    let spec = |secret: &str| {
        format!(
            "{}  r: {{mode: remote, endpoint: 'https://user.invalid/mcp', auth: {{type: bearer, token: {secret}}}}}\n",
            home.provider("a", &[], &format!("env: {{TOKEN: {secret}}}"))
        )
    };
    let gateway =
        Gateway::with_settings(&home, &spec("swordfish1"), &format!("{UNWATCHED}logging: {{level: trace}}\n"));
    gateway.client.text("a__echo", json!({}));
    let yaml = config(&spec("swordfish2"), &format!("{UNWATCHED}logging: {{level: trace}}\n"));
    let report = gateway.reload_to(&yaml, json!({}));
    assert_eq!(report["changed_fields"], json!({"a": ["env"], "r": ["auth"]}));
    let bad = gateway.reload_to(&yaml.replace("swordfish2", "[swordfish3]"), json!({}));
    assert_eq!(bad["status"], "failed");
    gateway.client.text("a__echo", json!({}));
    for tool in ["hangar_details", "hangar_list", "hangar_status", "hangar_metrics"] {
        gateway.client.tool(tool, if tool == "hangar_details" { json!({"provider": "a"}) } else { json!({}) });
    }
    let told = gateway.log() + &gateway.client.lines().join("\n");
    assert!(!told.contains("swordfish"), "{told}");
    for (pid, _) in home.leftovers() {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!line.contains("swordfish"), "{line}");
    }
    gateway.stop();
}

#[test]
fn p32_the_gateway_never_writes_its_configuration() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.reload(&home.provider("a", &[], "idle_ttl_s: 5"));
    let state = || {
        let entries = fs::read_dir(home.path("conf")).unwrap().flatten().map(|e| e.file_name()).collect::<Vec<_>>();
        (fs::read(home.config()).unwrap(), fs::metadata(home.config()).unwrap().modified().unwrap(), entries)
    };
    let before = state();
    gateway.client.pid_of("a");
    gateway.client.structured("hangar_reload_config", json!({"verify": true}));
    gateway.client.structured("hangar_stop", json!({"provider": "a"}));
    gateway.stop();
    assert_eq!(state(), before);
}

#[test]
fn p14_every_key_of_a_provider_that_changes_is_seen() {
    let home = Home::new();
    let base = home.provider("a", &[], "");
    let gateway = Gateway::start(&home, &base);
    let keys = [
        ("args: ['--noise', '1']", "args"),
        ("cwd: /", "cwd"),
        ("env: {A: b}", "env"),
        ("inherit_env: [A]", "inherit_env"),
        ("description: x", "description"),
        ("idle_ttl_s: 3", "idle_ttl_s"),
        ("health_check_interval_s: 3", "health_check_interval_s"),
        ("max_consecutive_failures: 2", "max_consecutive_failures"),
        ("max_concurrency: 3", "max_concurrency"),
        ("startup_timeout_s: 3", "startup_timeout_s"),
        ("call_timeout_s: 3", "call_timeout_s"),
        ("drain_timeout_s: 3", "drain_timeout_s"),
        ("protocol: legacy", "protocol"),
        ("tools: {deny: [x]}", "tools"),
        ("sharing: session", "sharing"),
        ("max_instances: 5", "max_instances"),
        ("stop: {grace_s: 2}", "stop"),
        ("enabled: false", "enabled"),
    ];
    for (key, name) in keys {
        let there = gateway.reload(&home.provider("a", &[], key));
        assert_eq!(there["changed_fields"], json!({"a": [name]}), "{key}: {there}");
        let back = gateway.reload(&base);
        assert_eq!(back["changed_fields"], json!({"a": [name]}), "{key}: {back}");
    }
    assert_eq!(gateway.generation(), 1 + 2 * keys.len() as u64);
    gateway.stop();
}
