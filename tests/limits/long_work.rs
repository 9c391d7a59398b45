//! Calls that take longer than `call_timeout_s`.

use std::time::Instant;

use crate::gateway::*;

fn work(gateway: &Gateway, token: Option<&str>, n: u64, each: u64) -> Pending {
    let mut params = json!({"name": "t__progress", "arguments": {"n": n, "ms": each}});
    if let Some(token) = token {
        params["_meta"] = json!({"progressToken": token});
    }
    gateway.client.send("tools/call", params)
}

#[test]
fn progress_gives_a_call_its_time_anew_up_to_a_cap() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("t", &[], "call_timeout_s: 2, max_call_time_s: 5"));
    gateway.client.pid_of("t");
    // 3.5 s in steps of 0.7.
    let began = Instant::now();
    let done = work(&gateway, Some("a"), 5, 700).wait();
    assert!(done["result"].is_object(), "{done}");
    assert!(began.elapsed() > ms(3400));
    // Nobody asked for progress: there is none.
    let silent = work(&gateway, None, 5, 700).wait();
    assert!(silent["error"]["message"].as_str().unwrap().contains("within 2.0 s (call_timeout_s)"), "{silent}");
    // Steps that are too far apart.
    let began = Instant::now();
    let slow = work(&gateway, Some("b"), 3, 4000).wait();
    assert_eq!(slow["error"]["data"]["limit"], "call_timeout_s", "{slow}");
    assert!(began.elapsed() < ms(7500), "{:?}", began.elapsed());
    // For ever.
    let began = Instant::now();
    let endless = work(&gateway, Some("c"), 100, 200).wait();
    assert_eq!(endless["error"]["data"]["limit"], "max_call_time_s", "{endless}");
    assert_eq!(endless["error"]["data"]["timeout_ms"], 5000, "{endless}");
    assert!((4.9..15.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    gateway.stop();
}

/// `(progress, total, message)` of what a client hears under this token.
fn heard(gateway: &Gateway, token: &str) -> Vec<(f64, Option<f64>, String)> {
    let of = |line: &String| {
        let message: Value = serde_json::from_str(line).ok()?;
        let params = message.get("params").filter(|params| params["progressToken"] == token)?;
        let text = params["message"].as_str().unwrap_or_default().to_owned();
        Some((params["progress"].as_f64()?, params["total"].as_f64(), text))
    };
    gateway.client.lines().iter().filter_map(of).collect()
}

fn grows(heard: &[(f64, Option<f64>, String)]) -> bool {
    heard.windows(2).all(|pair| pair[0].0 < pair[1].0)
}

#[test]
fn a_client_that_asked_for_progress_is_told_that_a_silent_call_goes_on() {
    let home = Home::new();
    let beat = |seconds: &str| format!("{UNWATCHED}server: {{progress_keep_alive_s: {seconds}}}\n");
    let provider = home.provider("t", &[], "call_timeout_s: 3");
    let gateway = Gateway::with_settings(&home, &provider, &beat("0.4"));
    gateway.client.pid_of("t");
    let sleep = |token: Value, time: u64| {
        let params = json!({"name": "t__sleep", "arguments": {"ms": time}, "_meta": token});
        gateway.client.request("tools/call", params)
    };
    assert!(sleep(json!({"progressToken": "silent"}), 2500)["result"].is_object());
    let told = heard(&gateway, "silent");
    assert!((3..=6).contains(&told.len()) && grows(&told), "{told:?}");
    assert!(told.iter().all(|(progress, _, _)| *progress < 0.01), "not ahead of what the provider may say: {told:?}");
    assert!(told[0].2.contains("provider \"t\" is still at it, after 0 s"), "{told:?}");

    // What the provider says itself is in its place among them, with its total.
    assert!(work(&gateway, Some("some"), 3, 1000).wait()["result"].is_object());
    let told = heard(&gateway, "some");
    let own: Vec<_> = told.iter().filter(|(_, _, text)| !text.contains("still at it")).map(|told| told.0).collect();
    assert_eq!(own, [1.0, 2.0, 3.0], "{told:?}");
    assert!(told.len() > 5 && grows(&told), "{told:?}");
    assert!(told.iter().all(|(progress, total, _)| (*progress < 1.0) == total.is_none()), "{told:?}");

    // It gives nobody more time, and who did not ask hears nothing.
    let began = Instant::now();
    let late = sleep(json!({"progressToken": "late"}), 60_000);
    assert_eq!(late["error"]["data"]["error"], "timeout", "{late}");
    assert!(began.elapsed() < ms(20_000) && heard(&gateway, "late").len() >= 4, "{:?}", began.elapsed());
    let before = gateway.client.lines().len();
    sleep(json!({}), 1000);
    assert!(gateway.client.lines().len() <= before + 1);
    gateway.reload_to(&config(&provider, &beat("0")), json!({}));
    sleep(json!({"progressToken": "never"}), 1000);
    assert!(heard(&gateway, "never").is_empty());
    gateway.stop();
}

#[test]
fn the_one_call_of_a_batch_tells_of_its_progress() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("t", &[], ""));
    let call = json!({"provider": "t", "tool": "progress", "arguments": {"n": 3, "ms": 10}});
    let batch = |token: &str, calls: Value| {
        let params = json!({"name": "hangar_call", "arguments": {"calls": calls}, "_meta": {"progressToken": token}});
        let answer = gateway.client.request("tools/call", params);
        assert_eq!(answer["result"]["isError"], false, "{answer}");
        heard(&gateway, token).len()
    };
    assert_eq!(batch("one", json!([call])), 3);
    assert_eq!(batch("two", json!([call, call])), 0, "whose report is it?");
    gateway.stop();
}

#[test]
fn a_time_that_the_caller_asks_for_is_meant_as_it_was_said() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("t", &[], "call_timeout_s: 1"));
    gateway.client.pid_of("t");
    let calls = json!({"calls": [{"provider": "t", "tool": "sleep", "arguments": {"ms": 60000}, "timeout": 1.5}]});
    let began = Instant::now();
    let result = gateway.client.tool("hangar_call", calls);
    assert_eq!(result["structuredContent"]["results"][0]["error"]["error"], "timeout", "{result}");
    assert!((1.4..15.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    gateway.stop();
}
