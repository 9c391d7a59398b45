//! Odd behaviour on the three streams: the connection lives, and nothing grows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hangar::transport::TransportError;
use serde_json::json;

use crate::rig::Rig;

/// What the rig sets as `max_message_bytes`.
const LIMIT: usize = 16 << 20;

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn noise_on_stdout_is_counted_and_kept_and_the_connection_lives() {
    let mut rig = Rig::start(&["--noise", "3"]).await;
    assert_eq!(rig.text("noise", json!({"lines": 2})).await, "made noise");
    assert_eq!(rig.output.noise_count(), 5);
    assert_eq!(rig.output.tail(1), ["noise 1"]);
}

#[tokio::test]
async fn a_line_over_the_limit_is_dropped_as_it_streams_and_the_connection_lives() {
    let mut rig = Rig::start(&[]).await;
    let fits = rig.text("big", json!({"bytes": 10_000_000})).await;
    assert_eq!(fits.len(), 10_000_000);
    drop(fits);
    let id = rig.call("big", &json!({"bytes": 3 * LIMIT}));
    assert_eq!(rig.failure().await, (Some(id), TransportError::Oversize { limit: LIMIT }));
    assert_eq!(rig.text("echo", json!({"still": "here"})).await, r#"{"still":"here"}"#);
}

#[tokio::test]
async fn a_flood_of_stderr_blocks_nobody_and_takes_no_memory() {
    const FLOOD: usize = 300_000_000;
    let before = resident();
    let start = Instant::now();
    let mut rig = Rig::start(&["--stderr-flood", &FLOOD.to_string()]).await;
    assert_eq!(rig.text("stderr", json!({"bytes": 1000})).await, "wrote to standard error");
    let per_second = FLOOD as f64 / start.elapsed().as_secs_f64() / 1e6;
    let grown = resident().saturating_sub(before);
    assert!(grown < 20_000_000, "{grown} bytes more");
    assert!(per_second > 30.0, "{per_second:.0} MB/s");
    eprintln!("stderr drained at {per_second:.0} MB/s, {grown} bytes more resident");
    assert!(rig.output.since(0).1 > 3_000_000);
}

#[tokio::test]
async fn a_server_that_stops_reading_is_overload_and_not_growth() {
    let mut rig = Rig::start(&[]).await;
    assert_eq!(rig.text("stop_reading", json!({})).await, "reading no more");
    let message = Bytes::from(format!(r#"{{"jsonrpc":"2.0","method":"x","params":"{}"}}"#, "y".repeat(1000)));
    let refused = (0..10_000).find_map(|_| rig.link.send(message.clone(), None).err());
    assert_eq!(refused, Some(TransportError::Overloaded { queued: 4096 }));
    // What waits does not delay the stop.
    rig.link.close(hangar::transport::Close::Now);
    let start = Instant::now();
    rig.exit().await;
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_slow_call_does_not_hold_up_another() {
    let mut rig = Rig::start(&[]).await;
    let slow = rig.call("sleep", &json!({"ms": 200}));
    assert_eq!(rig.text("pid", json!({})).await, rig.link.pid().unwrap().to_string());
    assert_eq!(rig.answer(slow).await["result"]["content"][0]["text"], "slept");
}

#[tokio::test]
async fn many_large_messages_both_ways_at_once_do_not_lock_up() {
    // The server answers while it is being written to: whoever reads only after writing would stand still.
    let mut rig = Rig::start(&[]).await;
    let filler = "z".repeat(300_000);
    let ids: Vec<u64> = (0..60).map(|i| rig.call("echo", &json!({"i": i, "filler": filler}))).collect();
    for id in ids {
        let answer = rig.answer(id).await;
        assert!(answer["result"]["content"][0]["text"].as_str().unwrap().len() > filler.len());
    }
}
