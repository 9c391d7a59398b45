//! `hangar_call` with many calls: their order, how many run at once, how long they may take, and the first that fails.

use std::time::Instant;

use crate::gateway::*;

fn started(home: &std::sync::Arc<Home>, keys: &str) -> Gateway {
    let gateway = Gateway::start(home, &home.provider("t", &[], keys));
    gateway.client.pid_of("t");
    gateway
}

fn one(tool: &str, arguments: Value) -> Value {
    json!({"provider": "t", "tool": tool, "arguments": arguments})
}

fn sleep(time: u64) -> Value {
    one("sleep", json!({"ms": time}))
}

fn batch(gateway: &Gateway, calls: &[Value], mut options: Value) -> Value {
    options["calls"] = json!(calls);
    gateway.client.tool("hangar_call", options)["structuredContent"].take()
}

/// `(success, error)` of each result, which must stand in the order of the calls.
fn results(report: &Value) -> Vec<(bool, String)> {
    let results = report["results"].as_array().unwrap_or_else(|| panic!("{report}"));
    let of = |(index, result): (usize, &Value)| {
        assert_eq!(result["index"], index, "{report}");
        (result["success"].as_bool().unwrap(), result["error"]["error"].as_str().unwrap_or_default().to_owned())
    };
    results.iter().enumerate().map(of).collect()
}

#[test]
fn results_stand_in_the_order_of_the_calls_whatever_ends_first() {
    let home = Home::new();
    let gateway = started(&home, "");
    let mut calls = vec![sleep(600)];
    calls.extend((0..20).map(|n| one("echo", json!({"n": n}))));
    let report = batch(&gateway, &calls, json!({}));
    assert!(results(&report).iter().all(|(success, _)| *success), "{report}");
    for n in 0..20 {
        let text = &report["results"][n + 1]["result"]["content"][0]["text"];
        assert_eq!(text.as_str().unwrap(), format!("{{\"n\":{n}}}"), "{report}");
    }
    gateway.stop();
}

#[test]
fn as_many_run_at_once_as_max_concurrency_says() {
    let home = Home::new();
    let gateway = started(&home, "max_concurrency: 0");
    let six = vec![sleep(400); 6];
    for (at_once, rounds) in [(1, 6), (3, 2), (50, 1)] {
        let began = Instant::now();
        let report = batch(&gateway, &six, json!({"max_concurrency": at_once}));
        assert!(results(&report).iter().all(|(success, _)| *success), "{report}");
        let least = ms(400 * rounds);
        assert!(began.elapsed() >= least, "{at_once} at once: {:?}", began.elapsed());
        assert!(began.elapsed() < least + ms(400 * 3), "{at_once} at once: {:?}", began.elapsed());
    }
    for (at_once, taken) in [(0, false), (1, true), (50, true), (51, false)] {
        let arguments = json!({"calls": [one("echo", json!({}))], "max_concurrency": at_once});
        let answer = gateway.client.tool("hangar_call", arguments);
        assert_eq!(answer["isError"] == false, taken, "{at_once}: {answer}");
    }
    for (calls, taken) in [(0, false), (1, true), (100, true), (101, false)] {
        let calls = vec![one("echo", json!({})); calls];
        let answer = gateway.client.tool("hangar_call", json!({"calls": calls}));
        assert_eq!(answer["isError"] == false, taken, "{answer}");
    }
    gateway.stop();
}

#[test]
fn with_fail_fast_nothing_is_started_after_a_failure() {
    let home = Home::new();
    let gateway = started(&home, "");
    let fails = one("fail", json!({}));
    let calls = [one("echo", json!({})), fails.clone(), sleep(1), sleep(1)];
    let all = |list: &[(bool, &str)]| list.iter().map(|(ok, error)| (*ok, (*error).to_owned())).collect::<Vec<_>>();

    let report = batch(&gateway, &calls, json!({"max_concurrency": 1, "fail_fast": true}));
    let want = all(&[(true, ""), (false, "tool_error"), (false, "not_started"), (false, "not_started")]);
    assert_eq!(results(&report), want, "{report}");
    assert_eq!((&report["success"], &report["succeeded"], &report["failed"]), (&json!(false), &json!(1), &json!(3)));
    let calls_of = |gateway: &Gateway, tool: &str| {
        let filter = format!("hangar_calls_total{{provider=\"t\",tool=\"{tool}\"");
        let metrics = gateway.client.structured("hangar_metrics", json!({"filter": "hangar_calls_total"}));
        metrics["metrics"].as_str().unwrap().lines().filter(|line| line.starts_with(&filter)).count()
    };
    assert_eq!(calls_of(&gateway, "sleep"), 0, "the provider never saw them");

    // What runs already goes on; without the word, everything does.
    let report =
        batch(&gateway, &[sleep(500), fails.clone(), sleep(1)], json!({"max_concurrency": 2, "fail_fast": true}));
    assert_eq!(results(&report), all(&[(true, ""), (false, "tool_error"), (false, "not_started")]), "{report}");
    let report = batch(&gateway, &[fails, sleep(1)], json!({"max_concurrency": 1}));
    assert_eq!(results(&report), all(&[(false, "tool_error"), (true, "")]), "{report}");
    gateway.stop();
}

#[test]
fn each_call_has_its_time_and_so_has_the_batch() {
    let home = Home::new();
    let gateway = started(&home, "");
    let mut short = sleep(60_000);
    short["timeout"] = json!(0.3);
    let began = Instant::now();
    let report = batch(&gateway, &[short.clone(), sleep(900)], json!({}));
    assert_eq!(results(&report), [(false, "timeout".to_owned()), (true, String::new())], "{report}");
    assert!(began.elapsed() < ms(10_000), "{:?}", began.elapsed());

    let began = Instant::now();
    let report = batch(&gateway, &[sleep(10), sleep(60_000)], json!({"timeout": 1.0}));
    assert_eq!(results(&report), [(true, String::new()), (false, "timeout".to_owned())], "{report}");
    assert!((1.0..15.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    for (seconds, taken) in [(0.0, false), (-1.0, false), (3600.0, true), (3600.1, false)] {
        let answer = gateway.client.tool("hangar_call", json!({"calls": [one("echo", json!({}))], "timeout": seconds}));
        assert_eq!(answer["isError"] == false, taken, "{seconds}: {answer}");
    }
    gateway.stop();
}
