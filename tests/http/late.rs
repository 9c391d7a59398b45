//! What a streamable HTTP server says of a call on its stream of general messages: another connection than the answer's, so it
//! may come after the answer, or before anybody listens. It is for the client of that call, or for nobody.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    remote_process::Remote,
    rig::{Conn, Running, call, start_gateway},
};

/// A session and its stream.
fn client(gateway: &Running) -> (String, Conn) {
    let session = gateway.session("2025-11-25");
    let stream = open(gateway, &session);
    (session, stream)
}

fn open(gateway: &Running, session: &str) -> Conn {
    let mut stream = gateway.connect();
    let key = format!("Mcp-Session-Id: {session}");
    stream.request(&gateway.address, "GET", "/mcp", &[&key, "Accept: text/event-stream"], b"");
    assert_eq!(stream.head().status, 200);
    // Less than between two signs of life: silence is a failure.
    stream.limit(Duration::from_secs(8));
    stream
}

/// A call whose answer comes at once, and its log message `ms` later.
fn log(gateway: &Running, session: &str, text: &str, ms: u64) {
    let answer = gateway.mcp(Some(session), &call(1, "r__late_log", &json!({"text": text, "ms": ms}))).text();
    assert!(answer.contains("\"ok\""), "{answer}");
    // The message of the call before, if it comes while this one is in flight.
    assert!(!answer.contains("notifications/message") || answer.contains(text), "{answer}");
}

/// Logs until it is told, for a busy machine may be later than late. Nothing else may be told before.
fn logs_and_hears(gateway: &Running, session: &str, stream: &mut Conn, text: &str) {
    for _ in 0..20 {
        log(gateway, session, text, 20);
        thread::sleep(Duration::from_millis(40));
    }
    let mut told = Vec::new();
    while told.is_empty() {
        told = stream.events().expect("the stream goes on");
        told.retain(|event| event["method"] == "notifications/message");
    }
    assert!(told.iter().all(|message| message["params"]["data"] == text), "{told:?}");
}

#[test]
fn a_log_message_that_comes_after_its_answer_is_told_to_the_only_client_it_can_be_for() {
    let remote = Remote::start(&[]);
    let gateway = start_gateway(&format!("providers:\n{}", remote.provider("r", "")));
    let (session, mut stream) = client(&gateway);
    logs_and_hears(&gateway, &session, &mut stream, "mine");

    let (session, mut stream) = client(&gateway);
    let (other, mut others) = client(&gateway);
    // Of two clients' calls one was just as late: neither gets it. Once more when the second call was still in flight.
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(1500));
        let start = Instant::now();
        log(&gateway, &session, "whose?", 90);
        log(&gateway, &other, "whose, then?", 90);
        if start.elapsed() < Duration::from_millis(60) {
            break;
        }
        (stream, others) = (open(&gateway, &session), open(&gateway, &other));
    }
    for (session, stream, text) in [(&session, &mut stream, "again mine"), (&other, &mut others, "the other's")] {
        thread::sleep(Duration::from_millis(1500));
        logs_and_hears(&gateway, session, stream, text);
    }
}

#[test]
fn the_first_call_waits_for_the_stream_on_which_its_client_may_be_asked() {
    let remote = Remote::start(&["--stream-after-ms", "150"]);
    let gateway = start_gateway(&format!("providers:\n{}", remote.provider("r", "")));
    let session = gateway.session("2025-11-25");
    let answer = gateway.mcp(Some(&session), &call(1, "r__stats", &json!({}))).json();
    let text = answer["result"]["content"][0]["text"].as_str().expect("a text");
    let stats: serde_json::Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(stats["listeners"], 1, "{stats}");
}
