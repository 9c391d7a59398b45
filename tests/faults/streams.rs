//! What a process writes that it should not, and what it does not read.

use crate::{
    gateway::{Pending, json, ms},
    row::{Row, Told, chaos},
};

#[test]
fn noise_in_a_call() {
    let mut row = Row::begin("noise_in_a_call", "noise on stdout before its answer", |home| chaos(home, ""));
    let pid = row.works();
    row.says("no error: what is no message is skipped and kept for the log");
    let answer = row.send("noise 200").wait();
    assert_eq!(answer["result"]["content"][0]["text"], pid.as_str(), "{answer}");
    row.serves_again();
    row.end();
}

#[test]
fn answers_with_wrong_ids() {
    let mut row =
        Row::begin("answers_with_wrong_ids", "unknown and foreign ids, of every type, and its answer twice", |home| {
            chaos(home, "")
        });
    let pid = row.works();
    row.says("no error: the call gets its one answer; the others are nobody's, and counted");
    for _ in 0..10 {
        let answer = row.send("ids").wait();
        assert_eq!(answer["result"]["content"][0]["text"], "first", "{answer}");
    }
    assert!(row.client.lines().iter().all(|line| !line.contains("unknown") && !line.contains("second")));
    let metrics = row.client.structured("hangar_metrics", json!({"filter": "stray_messages_total"}));
    let text = metrics["metrics"].as_str().unwrap();
    let strays: f64 =
        text.lines().rfind(|line| !line.starts_with('#')).unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(strays >= 20.0, "{text}");
    assert_eq!(row.works(), pid);
    row.serves_again();
    row.end();
}

#[test]
fn answers_more_than_is_taken() {
    let mut row =
        Row::begin("answers_more_than_is_taken", "an answer of 8 MB (`max_message_bytes: 1000000`)", |home| {
            chaos(home, "max_message_bytes: 1000000")
        });
    let pid = row.works();
    let says = &["an answer of more than 1000000 bytes was dropped"];
    row.fails(
        "oversize 8000000",
        Vec::new(),
        &Told { error: "transport_error", fault: "upstream", says, within: ms(1000) },
    );
    row.serves_again();
    assert_eq!(row.works(), pid, "the connection lives");
    row.end();
}

#[test]
fn stops_reading() {
    let mut row = Row::begin("stops_reading", "reads nothing more, and is sent 80 MB", |home| {
        chaos(home, "health_check_interval_s: 1, max_consecutive_failures: 1, max_concurrency: 0")
    });
    row.works();
    row.may_take(192 * 1024);
    let filler = "x".repeat(1 << 20);
    let first = row.send("deaf");
    let began = std::time::Instant::now();
    let calls: Vec<Pending> = (0..80).map(|_| row.client.start_tool("faulty__t", json!({"filler": filler}))).collect();
    let answers: Vec<_> = calls.into_iter().map(|call| (call.wait(), began.elapsed())).collect();
    let refused: Vec<_> =
        answers.iter().filter(|(answer, _)| answer["error"]["data"]["error"] == "transport_error").collect();
    assert!(!refused.is_empty(), "{}", answers[79].0);
    let says = &["does not read its input", "messages wait"];
    row.check(&refused[0].0, &Told { error: "transport_error", fault: "upstream", says, within: ms(0) });
    row.detected(refused[0].1, ms(5000));
    // Those that fit into the pipe and the queue.
    assert!(answers.iter().all(|(answer, _)| answer["error"]["code"] == -32050));
    first.wait();
    row.is_ended("health_probe_failed");
    row.serves_again();
    row.end();
}

#[test]
fn closes_its_output() {
    let mut row =
        Row::begin("closes_its_output", "closes stdout and lives on", |home| chaos(home, "call_timeout_s: 15"));
    row.works();
    let says = &["closed its output while it lived on, and was stopped while the call was in flight"];
    row.fails("close", Vec::new(), &Told { error: "provider_exited", fault: "upstream", says, within: ms(3000) });
    row.serves_again();
    row.end();
}
