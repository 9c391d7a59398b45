//! Answers that are longer than `max_answer_bytes`.

use crate::gateway::*;

/// Of an answer that was cut.
fn continuation(result: &Value) -> (String, usize) {
    let told = &result["_meta"]["hangar/continuation"];
    (
        told["continuation_id"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned(),
        told["offset"].as_u64().unwrap() as usize,
    )
}

fn start(home: &std::sync::Arc<Home>, keys: &str, limits: &str) -> Gateway {
    let settings = format!("{UNWATCHED}server: {{limits: {{{limits}}}}}\n");
    Gateway::with_settings(home, &home.provider("t", &[], keys), &settings)
}

#[test]
fn an_answer_that_is_too_long_is_cut_and_read_on() {
    let home = Home::new();
    let gateway = start(&home, "max_answer_bytes: 2000", "");
    let client = &gateway.client;
    let echo = |length: usize| client.tool("t__echo", json!({"text": "ä".repeat(length)}));
    // The result around the text is the same for all: where the limit is, is found from one that is given whole.
    let length = |result: &Value| result.to_string().len();
    let whole = echo(900);
    let most = 900 + (2000 - length(&whole)) / 2;
    for (chars, cut) in [(most - 1, false), (most, false), (most + 1, true)] {
        let result = echo(chars);
        assert_eq!(result.get("_meta").is_some(), cut, "{chars}: {} bytes", length(&result));
    }
    let wanted = json!({"text": "ä".repeat(5000)}).to_string();
    let result = echo(5000);
    let blocks = result["content"].as_array().unwrap();
    assert!(blocks.len() == 2 && blocks.iter().all(|block| block["type"] == "text" && block["text"].is_string()));
    assert_eq!(result["isError"], false);
    let note = blocks[1]["text"].as_str().unwrap();
    assert!(
        note.contains("hangar_fetch_continuation") && note.contains(&format!("of {} bytes", wanted.len())),
        "{note}"
    );
    let (id, mut offset) = continuation(&result);
    let mut read = blocks[0]["text"].as_str().unwrap().to_owned();
    assert_eq!(read.len(), offset);
    loop {
        // An odd limit in the middle of characters of two bytes.
        let part = client
            .structured("hangar_fetch_continuation", json!({"continuation_id": id, "offset": offset, "limit": 3001}));
        read += part["data"].as_str().unwrap();
        assert_eq!((&part["format"], part["total_bytes"].as_u64()), (&json!("text"), Some(wanted.len() as u64)));
        match part["next_offset"].as_u64() {
            Some(next) => offset = next as usize,
            None => break assert_eq!(part["complete"], true),
        }
    }
    assert_eq!(read, wanted);
    // By hangar_call it is the same.
    let calls = json!({"calls": [{"provider": "t", "tool": "echo", "arguments": {"text": "x".repeat(5000)}}]});
    let batch = client.structured("hangar_call", calls);
    continuation(&batch["results"][0]["result"]);
    // Gone when it is deleted.
    let delete = || client.structured("hangar_delete_continuation", json!({"continuation_id": id}))["deleted"].clone();
    assert_eq!((delete(), delete()), (json!(true), json!(false)));
    let gone = client.tool("hangar_fetch_continuation", json!({"continuation_id": id}));
    assert_eq!((&gone["isError"], &gone["structuredContent"]["error"]), (&json!(true), &json!("unknown_continuation")));
    for limit in [0, 1_048_577] {
        let refused = client.tool("hangar_fetch_continuation", json!({"continuation_id": id, "limit": limit}));
        assert_eq!(refused["structuredContent"]["error"], "invalid_arguments", "{limit}");
    }
    gateway.stop();
}

#[test]
fn it_is_opt_in_and_what_has_structure_stays_whole() {
    let home = Home::new();
    let gateway = start(&home, "", "");
    let big = |bytes: u64| gateway.client.tool("t__big", json!({"bytes": bytes}));
    assert!(big(1_000_000).get("_meta").is_none());
    gateway.reload(&home.provider("t", &[], "max_answer_bytes: 1k"));
    assert!(big(1_000_000).get("_meta").is_some());
    let structured = gateway.client.tool("t__structured", json!({"text": "x".repeat(3000)}));
    assert_eq!(structured["structuredContent"]["text"].as_str().map(str::len), Some(3000));
    gateway.stop();
}

#[test]
fn what_is_kept_is_bounded_in_room_and_time() {
    let home = Home::new();
    let gateway = start(&home, "max_answer_bytes: 1024", "continuation_bytes: 20000, continuation_ttl_s: 5");
    let client = &gateway.client;
    let big = |bytes: u64| client.tool("t__big", json!({"bytes": bytes}));
    let there = |id: &str| client.tool("hangar_fetch_continuation", json!({"continuation_id": id}))["isError"] == false;
    let (first, _) = continuation(&big(10_000));
    let (second, _) = continuation(&big(10_000));
    assert!(there(&first) && there(&second), "both fit, exactly");
    let (third, _) = continuation(&big(1100));
    assert_eq!((there(&first), there(&second), there(&third)), (false, true, true), "the oldest made way");
    // What has no room at all is given whole; nothing is lost.
    let (fits, not) = (big(20_000), big(20_001));
    assert!(fits.get("_meta").is_some() && not.get("_meta").is_none());
    assert_eq!(not["content"][0]["text"].as_str().map(str::len), Some(20_001));
    let (last, _) = continuation(&fits);
    assert!(there(&last));
    eventually("its time is over", SOON, || (!there(&last)).then_some(()));
    gateway.stop();
}

#[test]
fn a_continuation_is_its_clients_own() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("t", &[], "max_answer_bytes: 1024"));
    let (mut one, mut other) = (HttpSession::open(address), HttpSession::open(address));
    let (id, _) = continuation(&one.call("t__big", json!({"bytes": 5000}))["result"]);
    let fetch = json!({"continuation_id": id});
    assert_eq!(other.call("hangar_fetch_continuation", fetch.clone())["result"]["isError"], true);
    assert_eq!(
        other.call("hangar_delete_continuation", fetch.clone())["result"]["structuredContent"]["deleted"],
        false
    );
    assert_eq!(one.call("hangar_fetch_continuation", fetch)["result"]["isError"], false);
    gateway.stop();
}
