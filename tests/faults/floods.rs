//! Processes that write as fast as they can, up to 100 MB a second.

use crate::{
    gateway::{json, ms},
    row::{Row, Told, chaos, flood_ms},
};

fn flood(name: &'static str, fault: &'static str, word: &str) -> Row {
    let mut row = Row::begin(name, fault, |home| chaos(home, "call_timeout_s: 19"));
    row.works();
    let answer = row.send(&format!("{word} {}", flood_ms())).wait();
    match answer["result"]["content"][0]["text"].as_str() {
        Some(rate) => row.note(format!("{rate} for {} s", flood_ms() / 1000)),
        None => assert!(answer["error"].is_object(), "{answer}"),
    }
    if answer["error"].is_object() {
        let says = &["an answer of more than 16777216 bytes was dropped"];
        row.check(&answer, &Told { error: "transport_error", fault: "upstream", says, within: ms(0) });
    }
    row
}

#[test]
fn floods_stdout() {
    let mut row =
        flood("floods_stdout", "noise and messages that are nobody's on stdout, up to 100 MB/s", "flood-stdout");
    row.says("no error: the call is answered behind the flood");
    row.serves_again();
    row.end();
}

#[test]
fn floods_stderr() {
    let mut row = flood("floods_stderr", "stderr, up to 100 MB/s", "flood-stderr");
    row.says("no error: the last lines are kept, the others skipped");
    row.serves_again();
    row.end();
}

#[test]
fn a_line_without_end() {
    let mut row = flood("a_line_without_end", "stdout without a line end, up to 100 MB/s", "flood-line");
    row.says("no error");
    row.serves_again();
    row.end();
}

#[test]
fn a_neighbour_that_floods_beside_reloads() {
    let mut row = Row::begin(
        "a_neighbour_that_floods_beside_reloads",
        "floods stdout while the file is loaded again 5 times",
        |home| chaos(home, "call_timeout_s: 19"),
    );
    row.works();
    let call = row.send(&format!("flood-stdout {}", flood_ms()));
    let yaml = std::fs::read_to_string(row.home.config()).unwrap();
    for round in 0..5 {
        row.home.put(&format!("{yaml}# {round}\n"));
        let began = std::time::Instant::now();
        let report = row.client.structured("hangar_reload_config", json!({}));
        assert_eq!(report["providers_unchanged"], json!(["far", "faulty", "near"]), "{report}");
        assert!(began.elapsed() < ms(5000), "{:?}", began.elapsed());
    }
    row.says("no error: nothing moves, the flooding call is answered");
    assert!(call.wait()["result"].is_object());
    row.serves_again();
    row.end();
}
