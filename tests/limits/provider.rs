//! What is taken of a provider, and given to it.

use crate::{gateway::*, remote_process::Remote};

/// The longest text that comes through, of those that a call gives; the error of one more.
fn boundary(gives: impl Fn(u64) -> Value) -> (u64, Value) {
    let (mut fits, mut not) = (99_000, 100_001);
    assert!(gives(fits)["result"].is_object());
    while not - fits > 1 {
        let middle = (fits + not) / 2;
        if gives(middle)["result"].is_object() { fits = middle } else { not = middle }
    }
    (fits, gives(not)["error"].clone())
}

#[test]
fn the_queue_of_a_provider() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("t", &[], "max_concurrency: 1, max_queued: 2"));
    gateway.client.pid_of("t");
    let mut refused = Value::Null;
    for (sent, over) in [(1, 0), (2, 0), (3, 1)] {
        let busy = gateway.client.start_tool("t__sleep", json!({"ms": 2000}));
        eventually("it runs", SOON, || (gateway.provider("t")["calls_in_flight"] == 1).then_some(()));
        // They come together: which one finds the queue full is nobody's promise.
        let calls: Vec<_> = (0..sent).map(|_| gateway.client.start_tool("t__echo", json!({}))).collect();
        let mut answers: Vec<_> = calls.into_iter().map(Pending::wait).collect();
        busy.wait();
        answers.retain(|answer| answer.get("error").is_some());
        assert_eq!(answers.len(), over, "of {sent}: {answers:?}");
        refused = answers.pop().unwrap_or_default()["error"].take();
    }
    assert_eq!(refused["code"], -32050, "{refused}");
    let data = &refused["data"];
    assert_eq!((&data["error"], &data["fault"]), (&json!("provider_busy"), &json!("upstream")), "{refused}");
    assert_eq!((&data["max_concurrency"], &data["queued"]), (&json!(1), &json!(2)), "{refused}");
    assert_eq!(data["retry_after_ms"], 1000, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("2 wait (max_queued)"), "{refused}");
    // None may wait at all.
    gateway.reload(&home.provider("t", &[], "max_concurrency: 1, max_queued: 0"));
    gateway.client.pid_of("t");
    let busy = gateway.client.start_tool("t__sleep", json!({"ms": 2000}));
    eventually("it runs", SOON, || (gateway.provider("t")["calls_in_flight"] == 1).then_some(()));
    assert!(gateway.client.start_tool("t__echo", json!({})).error().contains("0 wait (max_queued)"));
    busy.wait();
    gateway.stop();
}

/// The length of the whole line is what counts, and only the gateway and the provider see it: it is found out once.
#[test]
fn messages_of_a_provider() {
    let home = Home::new();
    let bytes = |keys: &str| home.provider("t", &[], keys);
    let gateway = Gateway::start(&home, &bytes("max_message_bytes: 100000"));
    let big = |bytes: u64| gateway.client.start_tool("t__big", json!({"bytes": bytes})).wait();
    let (fits, told) = boundary(big);
    assert_eq!(told["data"]["fault"], "upstream", "{told}");
    assert!(told["message"].as_str().unwrap().contains("more than 100000 bytes"), "{told}");
    // The rest of the line is its envelope.
    let envelope = 100_000 - fits;
    assert!((40..200).contains(&envelope), "{envelope}");
    let pid = gateway.client.pid_of("t");
    assert!(big(fits)["result"].is_object(), "the connection lives");
    assert_eq!(gateway.client.pid_of("t"), pid);
    gateway.stop();
}

#[test]
fn messages_of_a_remote_provider() {
    let (home, remote) = (Home::new(), Remote::start(&[]));
    let endpoint = format!("http://{}/mcp", remote.address);
    let yaml = format!("  r: {{mode: remote, endpoint: \"{endpoint}\", max_message_bytes: 100000}}\n");
    let gateway = Gateway::start(&home, &yaml);
    let echo = |bytes: u64| gateway.client.start_tool("r__echo", json!({"text": "x".repeat(bytes as usize)})).wait();
    let (fits, told) = boundary(echo);
    assert!(told["message"].as_str().unwrap().contains("more than 100000 bytes"), "{told}");
    assert!((40..300).contains(&(100_000 - fits)), "{fits}");
    assert!(echo(fits)["result"].is_object());
    gateway.stop();
}
