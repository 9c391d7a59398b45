//! One provider's life as a client sees it: started once, stopped when idle, mourned at once, revived, and ended with the
//! gateway. CONTRACT sections 3 and 7, PITFALLS sections 1, 2 and 4.

#[path = "support/gateway.rs"]
mod gateway;

use std::time::{Duration, Instant};

use gateway::{Being, Gateway, Home, Pending, SOON, Signal, config, eventually, holds_for, json, ms, signal};

fn in_flight(gateway: &Gateway, name: &str, count: u64) {
    eventually(&format!("{count} calls run"), SOON, || {
        (gateway.provider(name)["calls_in_flight"] == count).then_some(())
    });
}

fn slept(call: Pending) {
    let answer = call.wait();
    assert_eq!(answer["result"]["content"][0]["text"], "slept", "{answer}");
}

#[test]
fn concurrent_first_calls_share_one_start() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--start-delay", "300"], ""));
    let calls: Vec<_> = (0..32).map(|_| gateway.client.start_tool("a__pid", json!({}))).collect();
    let pids: std::collections::BTreeSet<_> =
        calls.into_iter().map(|call| call.wait()["result"]["content"][0]["text"].to_string()).collect();
    assert_eq!(pids.len(), 1);
    assert_eq!(home.start_count("a"), 1);
    gateway.stop();
}

#[test]
fn a_client_that_gives_up_does_not_abort_the_start() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--start-delay", "500"], ""));
    let first = gateway.client.start_tool("a__echo", json!({}));
    eventually("it starts", SOON, || (home.start_count("a") == 1).then_some(()));
    gateway.client.notify("notifications/cancelled", json!({"requestId": first.id}));
    gateway.wait_state("a", "ready");
    gateway.client.pid_of("a");
    assert_eq!(home.start_count("a"), 1);
    assert!(first.within(ms(0)).is_none(), "a cancelled call gets no answer");
    gateway.stop();
}

#[test]
fn h13_an_idle_provider_stops_and_a_running_call_is_never_idle() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "idle_ttl_s: 0.3"));
    slept(gateway.client.start_tool("a__sleep", json!({"ms": 1500})));
    assert_eq!(home.start_count("a"), 1);
    gateway.wait_state("a", "cold");
    assert_eq!(home.starts("a").len(), 2, "one start, one stop");
    let pid = gateway.client.pid_of("a");
    assert_eq!(home.starts("a").last(), Some(&(true, pid)), "the next call starts it again");
    assert_eq!(home.assert_never_two("a"), 2);
    let stops = gateway.client.structured("hangar_metrics", json!({"filter": "hangar_provider_stops_total{"}));
    assert!(stops["metrics"].as_str().unwrap().contains("reason=\"idle\"} 1"), "{stops}");
    gateway.stop();
}

#[test]
fn idle_stops_and_calls_at_the_same_moment_lose_no_call() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "idle_ttl_s: 0.05"));
    for round in 0..25 {
        gateway.client.text("a__echo", json!({"round": round}));
        std::thread::sleep(ms(46 + round % 8));
    }
    home.assert_never_two("a");
    gateway.stop();
    home.assert_starts_equal_stops("a");
}

#[test]
fn a_killed_provider_is_noticed_at_once_and_its_calls_get_one_error_each() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let pid = gateway.client.pid_of("a");
    let calls: Vec<_> = (0..3).map(|_| gateway.client.start_tool("a__sleep", json!({"ms": 15000}))).collect();
    in_flight(&gateway, "a", 3);
    let killed = Instant::now();
    signal(pid, Signal::KILL);
    let ids: Vec<_> = calls.iter().map(|call| call.id).collect();
    for call in calls {
        let error = call.error();
        assert!(error.contains("\"a\"") && error.contains("signal 9"), "{error}");
    }
    assert!(killed.elapsed() < ms(100), "{:?}", killed.elapsed());
    assert_ne!(gateway.client.pid_of("a"), pid, "the next call starts a new one");
    for id in ids {
        let lines = gateway.client.lines();
        assert_eq!(lines.iter().filter(|line| line.contains(&format!("\"id\":{id},"))).count(), 1);
    }
    gateway.stop();
}

#[test]
fn h14_a_death_is_told_at_once_though_a_stubborn_grandchild_lives_on() {
    let home = Home::new();
    let a = home.provider("a", &["--grandchild", "setsid,stubborn"], "stop: {grace_s: 2, term_s: 1}");
    let gateway = Gateway::start(&home, &a);
    let pid = gateway.client.pid_of("a");
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 15000}));
    in_flight(&gateway, "a", 1);
    let killed = Instant::now();
    signal(pid, Signal::KILL);
    let error = call.error();
    assert!(error.contains("\"a\"") && error.contains("signal 9"), "{error}");
    assert!(killed.elapsed() < ms(250), "{:?}", killed.elapsed());
    let next = gateway.client.pid_of("a");
    let first: Vec<_> =
        home.beings("a").into_iter().take_while(|being| being.pid < next).filter(|b| b.lives()).collect();
    assert_eq!(first, [], "nothing of the first instance beside the second");
    gateway.stop();
}

#[test]
fn a_server_that_works_and_dies_is_restarted_by_the_next_call_without_waiting() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    for round in 0..3 {
        gateway.client.text("a__echo", json!({}));
        let error = gateway.client.start_tool("a__exit", json!({"code": 5})).error();
        assert!(error.contains("exited with code 5"), "{round}: {error}");
    }
    gateway.client.text("a__echo", json!({}));
    assert_eq!(home.assert_never_two("a"), 4);
    gateway.stop();
}

#[test]
fn a_crash_loop_backs_off_dies_and_is_revived_by_hangar_start() {
    let home = Home::new();
    let counter = home.path("logs/count");
    let args = ["--crash-starts", "3", "--counter", counter.to_str().unwrap()];
    let gateway = Gateway::start(&home, &home.provider("a", &args, "protocol: legacy, max_consecutive_failures: 3"));
    let first = gateway.client.start_tool("a__echo", json!({})).error();
    assert!(first.contains("crashing at start 1") && first.contains("exited with code 9"), "{first}");
    let second = gateway.client.start_tool("a__echo", json!({})).error();
    assert!(second.contains("tried again in"), "{second}");
    assert_eq!(home.start_count("a"), 1, "the back-off starts nothing");
    eventually("the third failure", SOON, || {
        gateway.client.start_tool("a__echo", json!({})).error();
        (home.start_count("a") == 3).then_some(())
    });
    gateway.wait_state("a", "dead");
    let dead = gateway.client.start_tool("a__echo", json!({})).error();
    assert!(dead.contains("is dead"), "{dead}");
    assert_eq!(gateway.client.structured("hangar_start", json!({"provider": "a"}))["state"], "ready");
    gateway.client.text("a__echo", json!({}));
    assert_eq!(gateway.provider("a")["consecutive_failures"], 0);
    gateway.stop();
}

#[test]
fn a_dead_provider_is_revived_by_a_call_after_the_back_off() {
    let home = Home::new();
    let counter = home.path("logs/count");
    let args = ["--crash-starts", "1", "--counter", counter.to_str().unwrap()];
    let gateway = Gateway::start(&home, &home.provider("a", &args, "protocol: legacy, max_consecutive_failures: 1"));
    gateway.client.start_tool("a__echo", json!({})).error();
    assert_eq!(gateway.state("a"), "dead");
    eventually("the back-off is over", SOON, || {
        gateway.client.start_tool("a__echo", json!({})).wait().get("result").map(drop)
    });
    assert_eq!(home.start_count("a"), 2);
    gateway.stop();
}

#[test]
fn a_start_that_takes_too_long_is_an_error_and_leaves_no_process() {
    let home = Home::new();
    let slow = home.provider("slow", &["--start-delay", "20000"], "startup_timeout_s: 0.4");
    let hung = home.provider("hung", &["--handshake", "hang"], "startup_timeout_s: 0.4");
    let gateway = Gateway::start(&home, &(slow + &hung));
    for name in ["slow", "hung"] {
        let began = Instant::now();
        let error = gateway.client.start_tool(&format!("{name}__echo"), json!({})).error();
        assert!(error.contains(name) && error.contains("startup_timeout_s"), "{error}");
        assert!(began.elapsed() >= ms(390) && began.elapsed() < ms(2000), "{:?}", began.elapsed());
    }
    home.assert_nothing_left(SOON);
    gateway.stop();
}

#[test]
fn an_exit_before_the_handshake_says_the_code_and_the_last_words() {
    let home = Home::new();
    let exits = home.provider("exits", &["--handshake", "exit:7", "--stderr-flood", "200"], "");
    let refuses = home.provider("refuses", &["--handshake", "error"], "");
    let gateway = Gateway::start(&home, &(exits + &refuses));
    let error = gateway.client.start_tool("exits__echo", json!({})).error();
    assert!(error.contains("\"exits\"") && error.contains("exited with code 7"), "{error}");
    assert!(error.contains("a line of standard error"), "{error}");
    let error = gateway.client.start_tool("refuses__echo", json!({})).error();
    assert!(error.contains("the handshake was made to fail"), "{error}");
    gateway.stop();
}

#[test]
fn max_concurrency_holds_further_calls_back_and_loses_none() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "max_concurrency: 2"));
    gateway.client.pid_of("a");
    let began = Instant::now();
    let calls: Vec<_> = (0..6).map(|_| gateway.client.start_tool("a__sleep", json!({"ms": 200}))).collect();
    let batch = json!({"calls": vec![json!({"provider": "a", "tool": "sleep", "arguments": {"ms": 200}}); 2]});
    let batch = gateway.client.start_tool("hangar_call", batch);
    while began.elapsed() < ms(500) {
        assert!(gateway.provider("a")["calls_in_flight"].as_u64().unwrap() <= 2);
    }
    calls.into_iter().for_each(slept);
    assert_eq!(batch.wait()["result"]["structuredContent"]["succeeded"], 2);
    assert!(began.elapsed() >= ms(790), "{:?}: more than two at a time", began.elapsed());
    gateway.stop();
}

#[test]
fn h10_starting_stopping_and_asking_about_a_busy_provider_waits_for_no_call() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "max_concurrency: 1"));
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 1500}));
    in_flight(&gateway, "a", 1);
    for (tool, arguments) in [
        ("hangar_start", json!({"provider": "a"})),
        ("hangar_warm", json!({})),
        ("hangar_details", json!({"provider": "a"})),
        ("hangar_tools", json!({"provider": "a"})),
        ("hangar_health", json!({})),
        ("hangar_status", json!({})),
    ] {
        let began = Instant::now();
        gateway.client.structured(tool, arguments);
        assert!(began.elapsed() < ms(300), "{tool}: {:?}", began.elapsed());
    }
    assert!(gateway.client.tools().len() > 20);
    slept(call);
    gateway.stop();
}

#[test]
fn a_probe_that_fails_degrades_and_one_that_succeeds_restores() {
    let home = Home::new();
    let keys = "health_check_interval_s: 0.2, max_consecutive_failures: 1000";
    let gateway = Gateway::start(&home, &home.provider("a", &[], keys));
    let pid = gateway.client.pid_of("a");
    signal(pid, Signal::STOP);
    gateway.wait_state("a", "degraded");
    signal(pid, Signal::CONT);
    gateway.wait_state("a", "ready");
    assert_eq!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn a_provider_that_hangs_for_good_is_ended_and_the_next_call_gets_a_new_one() {
    let home = Home::new();
    let keys = "health_check_interval_s: 0.1, max_consecutive_failures: 2, stop: {grace_s: 0.2, term_s: 0.2}";
    let gateway = Gateway::start(&home, &home.provider("a", &[], keys));
    let pid = gateway.client.pid_of("a");
    signal(pid, Signal::STOP);
    eventually("it is ended", SOON, || Being::of(pid).is_none().then_some(()));
    assert_ne!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn h19_a_hung_provider_holds_back_neither_listing_nor_anybody_else() {
    let home = Home::new();
    let hung = home.provider("hung", &["--handshake", "hang"], "startup_timeout_s: 10");
    let providers = hung + &home.provider("well", &[], "health_check_interval_s: 0.1");
    let settings = format!("{}server: {{list_timeout_s: 0.5}}\n", gateway::UNWATCHED);
    let gateway = Gateway::with_settings(&home, &providers, &settings);
    let began = Instant::now();
    let tools = gateway.client.tools();
    assert!(began.elapsed() < ms(1500), "{:?}", began.elapsed());
    assert!(tools.contains(&"well__echo".to_owned()) && !tools.iter().any(|name| name.starts_with("hung__")));
    for _ in 0..10 {
        let began = Instant::now();
        gateway.client.text("well__echo", json!({}));
        assert!(began.elapsed() < ms(300), "{:?}", began.elapsed());
    }
    assert_eq!(gateway.client.structured("hangar_status", json!({}))["not_listed"], json!(["hung"]));
    assert_eq!(gateway.state("well"), "ready");
    gateway.stop();
}

#[test]
fn h10_a_provider_that_ignores_eof_and_sigterm_blocks_nobody_while_it_is_ended() {
    let home = Home::new();
    let stubborn = ["--ignore-eof", "--ignore-term", "--grandchild", "double-fork,stubborn"];
    let a = home.provider("a", &stubborn, "stop: {grace_s: 0.6, term_s: 0.6}");
    let gateway = Gateway::start(&home, &(a + &home.provider("b", &[], "")));
    let pid = gateway.client.pid_of("a");
    gateway.client.tools();
    let began = Instant::now();
    gateway.reload(&home.provider("b", &[], ""));
    gateway.client.tools();
    gateway.client.text("b__echo", json!({}));
    gateway.client.structured("hangar_status", json!({}));
    assert!(began.elapsed() < ms(400), "{:?}", began.elapsed());
    assert!(Being::of(pid).is_some(), "the ladder takes its time");
    eventually("all of it is gone", ms(3000), || {
        home.beings("a").into_iter().all(|being| !being.lives()).then_some(())
    });
    gateway.stop();
}

#[test]
fn the_catalogue_is_remembered_over_a_restart_without_starting_anything() {
    let home = Home::new();
    let a = home.provider("a", &["--tools", "extra"], "");
    let gateway = Gateway::start(&home, &a);
    let before = gateway.client.list("tools/list");
    eventually("it is written down", SOON, || {
        let dir = std::fs::read_dir(home.path("state/hangar/catalogues")).ok()?;
        dir.flatten().any(|file| file.path().extension().is_some_and(|e| e == "json")).then_some(())
    });
    gateway.stop();
    let gateway = Gateway::again(&home);
    assert_eq!(gateway.client.list("tools/list"), before);
    assert_eq!(gateway.client.list("resources/list")["resources"].as_array().unwrap().len(), 2);
    assert_eq!((gateway.state("a").as_str(), home.start_count("a")), ("cold", 1));
    let other = gateway.reload(&home.provider("a", &["--tools", "other"], ""));
    assert_eq!(other["providers_updated"], json!(["a"]));
    assert!(
        gateway.client.tools().contains(&"a__other".to_owned()),
        "another spec is not taken for the remembered one"
    );
    gateway.stop();
}

#[test]
fn starts_equal_stops_and_nothing_is_left_when_the_gateway_ends() {
    let home = Home::new();
    let names = ["a", "b", "c", "d"];
    let all: String = names.iter().map(|name| home.provider(name, &["--grandchild", "double-fork"], "")).collect();
    let gateway = Gateway::start(&home, &all);
    assert_eq!(gateway.client.structured("hangar_warm", json!({}))["started"], 4);
    gateway.client.structured("hangar_stop", json!({"provider": "b"}));
    assert_eq!(gateway.state("b"), "cold");
    gateway.client.text("b__echo", json!({}));
    assert!(home.leftovers().len() >= 8, "the marker is seen: {:?}", home.leftovers());
    gateway.stop();
    names.iter().for_each(|name| home.assert_starts_equal_stops(name));
    assert_eq!(home.assert_never_two("b"), 2);
}

#[test]
fn h14_nothing_outlives_a_gateway_that_is_killed() {
    let home = Home::new();
    let stop = "stop: {grace_s: 0.5, term_s: 0.5}";
    let polite = home.provider("polite", &["--grandchild", "setsid", "--grandchild", "cleared-env"], stop);
    let stubborn = ["--ignore-eof", "--ignore-term", "--grandchild", "double-fork,stubborn"];
    let gateway = Gateway::start(&home, &(polite + &home.provider("stubborn", &stubborn, stop)));
    gateway.client.structured("hangar_warm", json!({}));
    let starting = home.beings("polite").len() + home.beings("stubborn").len();
    assert!(starting >= 2);
    gateway.signal(Signal::KILL);
    home.assert_nothing_left(ms(2000));
}

#[test]
fn sigterm_lets_a_running_call_finish_and_refuses_new_ones_with_an_answer() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &(home.provider("a", &[], "") + &home.provider("b", &[], "")));
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 900}));
    in_flight(&gateway, "a", 1);
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("gateway_stopping");
    // Retirement follows the log line by a moment.
    let refused = eventually("new calls are refused", SOON, || {
        gateway.client.start_tool("a__echo", json!({})).wait()["error"]["message"].as_str().map(str::to_owned)
    });
    assert!(refused.contains("shutting down") && refused.contains("\"a\""), "{refused}");
    let cold = gateway.client.start_tool("b__echo", json!({})).error();
    assert!(cold.contains("shutting down"), "{cold}");
    slept(call);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log());
    assert_eq!(home.start_count("b"), 0);
    home.assert_nothing_left(Duration::ZERO);
    home.assert_starts_equal_stops("a");
}

#[test]
fn sigterm_leaves_no_request_without_an_answer() {
    for _ in 0..5 {
        let home = Home::new();
        let mut gateway = Gateway::start(&home, &home.provider("a", &[], "max_concurrency: 1, idle_ttl_s: 0"));
        gateway.client.pid_of("a");
        let running = gateway.client.start_tool("a__sleep", json!({"ms": 200}));
        in_flight(&gateway, "a", 1);
        let waiting: Vec<_> = (0..20).map(|_| gateway.client.start_tool("a__pid", json!({}))).collect();
        gateway.client.request("ping", json!({}));
        gateway.signal(Signal::TERM);
        slept(running);
        for call in waiting {
            let answer = call.wait();
            assert!(answer.get("error").is_some() || answer.get("result").is_some(), "{answer}");
        }
        assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    }
}

#[test]
fn a_second_sigterm_leaves_at_once() {
    let home = Home::new();
    let stop = "stop: {grace_s: 0.5, term_s: 0.5}";
    let mut gateway = Gateway::start(&home, &home.provider("a", &[], stop));
    let _call = gateway.client.start_tool("a__sleep", json!({"ms": 15000}));
    in_flight(&gateway, "a", 1);
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("gateway_stopping");
    holds_for("it waits for the call", ms(300), || gateway.exited().is_none());
    gateway.signal(Signal::TERM);
    gateway.wait_exit(ms(1000));
    home.assert_nothing_left(ms(2000));
}

#[test]
fn sigint_stops_the_gateway_like_sigterm() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    gateway.client.pid_of("a");
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    home.assert_nothing_left(Duration::ZERO);
}

#[test]
fn a_gateway_that_stops_while_a_provider_starts_leaves_nothing() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &home.provider("a", &["--start-delay", "8000"], ""));
    let call = gateway.client.start_tool("a__echo", json!({}));
    eventually("it starts", SOON, || (home.start_count("a") == 1).then_some(()));
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    let error = call.error();
    assert!(error.contains("shutting down"), "{error}");
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    assert!(began.elapsed() < ms(4000), "{:?}", began.elapsed());
    home.assert_nothing_left(Duration::ZERO);
}

#[test]
fn a_call_that_times_out_says_so_and_the_provider_lives_on() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "call_timeout_s: 0.3"));
    let pid = gateway.client.pid_of("a");
    let error = gateway.client.start_tool("a__sleep", json!({"ms": 15000})).error();
    assert!(error.contains("\"a\"") && error.contains("call_timeout_s"), "{error}");
    eventually("h16: the upstream hears of it", SOON, || {
        (gateway.client.text("a__cancelled", json!({})) != "[]").then_some(())
    });
    assert_eq!(gateway.client.pid_of("a"), pid);
    gateway.stop();
}

#[test]
fn p25_h14_what_a_wrapper_left_behind_is_ended_by_a_reload() {
    let home = Home::new();
    let kinds = ["plain", "setsid", "double-fork", "cleared-env"];
    let args: Vec<&str> = kinds.iter().flat_map(|kind| ["--grandchild", kind]).collect();
    let gateway = Gateway::start(&home, &home.provider("a", &args, ""));
    gateway.client.pid_of("a");
    eventually("all grandchildren run", SOON, || (home.beings("a").len() == 5).then_some(()));
    gateway.reload("");
    home.assert_nothing_left(SOON);
    gateway.stop();
}

#[test]
fn a_boot_with_an_invalid_file_starts_nothing_and_says_why() {
    let home = Home::new();
    home.put(&config(&format!("{}  b: {{comand: [x]}}\n", home.provider("a", &[], "")), ""));
    let mut gateway = Gateway::spawn(&home);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(3));
    gateway.wait_for_log("config.yaml:3:7: providers.b.comand");
    assert_eq!(home.start_count("a"), 0);
}
