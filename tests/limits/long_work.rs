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
