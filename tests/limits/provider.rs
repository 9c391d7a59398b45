//! What is taken of a provider, and given to it.

use crate::gateway::*;

#[test]
fn the_queue_of_a_provider() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("t", &[], "max_concurrency: 1, max_queued: 2"));
    gateway.client.pid_of("t");
    let busy = gateway.client.start_tool("t__sleep", json!({"ms": 1500}));
    eventually("it runs", SOON, || (gateway.provider("t")["calls_in_flight"] == 1).then_some(()));
    let queued: Vec<_> = (0..2).map(|_| gateway.client.start_tool("t__echo", json!({}))).collect();
    // Those two are on their way through the gateway; a third finds them there, or the next try does.
    let refused = eventually("one is refused", ms(1200), || {
        let one = gateway.client.start_tool("t__echo", json!({})).within(ms(100))?;
        one.get("error").cloned()
    });
    assert_eq!(refused["code"], -32050, "{refused}");
    let data = &refused["data"];
    assert_eq!((&data["error"], &data["fault"]), (&json!("provider_busy"), &json!("upstream")), "{refused}");
    assert_eq!((&data["max_concurrency"], &data["queued"]), (&json!(1), &json!(2)), "{refused}");
    assert_eq!(data["retry_after_ms"], 1000, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("2 wait (max_queued)"), "{refused}");
    busy.wait();
    queued.into_iter().for_each(|call| assert!(call.wait()["result"].is_object()));
    // None may wait at all.
    gateway.reload(&home.provider("t", &[], "max_concurrency: 1, max_queued: 0"));
    gateway.client.pid_of("t");
    let busy = gateway.client.start_tool("t__sleep", json!({"ms": 800}));
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
    let (mut fits, mut not) = (99_000, 100_001);
    assert!(big(fits)["result"].is_object());
    while not - fits > 1 {
        let middle = (fits + not) / 2;
        if big(middle)["result"].is_object() { fits = middle } else { not = middle }
    }
    let told = big(not);
    assert_eq!(told["error"]["data"]["fault"], "upstream", "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("more than 100000 bytes"), "{told}");
    // The rest of the line is its envelope.
    let envelope = 100_000 - fits;
    assert!((40..200).contains(&envelope), "{envelope}");
    let pid = gateway.client.pid_of("t");
    assert!(big(fits)["result"].is_object(), "the connection lives");
    assert_eq!(gateway.client.pid_of("t"), pid);
    gateway.stop();
}
