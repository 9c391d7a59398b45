//! Faults from the first process to the end of the handshake.

use crate::{
    gateway::ms,
    row::{Row, Told, chaos},
};

const NOT_STARTED: &str = "provider_not_started";

#[test]
fn exits_before_the_handshake() {
    let mut row = Row::begin("exits_before_the_handshake", "exits with code 3 at its start", |home| chaos(home, ""));
    row.at_start("exit");
    let says = &["exited with code 3 before it was ready", "no licence found", "tried again in"];
    row.fails("", Vec::new(), &Told { error: NOT_STARTED, fault: "upstream", says, within: ms(3000) });
    row.at_start("");
    row.serves_again();
    row.end();
}

#[test]
fn exits_in_the_handshake() {
    let mut row = Row::begin("exits_in_the_handshake", "exits at the first message", |home| chaos(home, ""));
    row.at_start("exit-in-handshake");
    let says = &["exited with code 4 before it was ready", "cannot open the store", "tried again in"];
    row.fails("", Vec::new(), &Told { error: NOT_STARTED, fault: "upstream", says, within: ms(5000) });
    row.at_start("");
    row.serves_again();
    row.end();
}

#[test]
fn exits_after_the_handshake() {
    let mut row =
        Row::begin("exits_after_the_handshake", "exits as soon as it is ready, each time", |home| chaos(home, ""));
    row.at_start("exit-after-handshake 0");
    // Whether the first call came before the exit or after it is a matter of luck.
    let told = row.send("").wait();
    let error = match told["error"]["data"]["error"].as_str() {
        Some("provider_exited") => "provider_exited",
        _ => NOT_STARTED,
    };
    row.check(
        &told,
        &Told { error, fault: "upstream", says: &["exited with code 5", "the store went away"], within: ms(0) },
    );
    // It is not started for ever: then it is waited with.
    let began = std::time::Instant::now();
    let held = crate::gateway::eventually("it is waited with", ms(5000), || {
        let answer = row.send("").wait();
        (answer["error"]["data"]["error"] == NOT_STARTED).then_some(answer)
    });
    row.check(
        &held,
        &Told { error: NOT_STARTED, fault: "upstream", says: &["code 5", "tried again in"], within: ms(0) },
    );
    row.detected(began.elapsed(), ms(5000));
    row.at_start("");
    row.serves_again();
    row.end();
}

#[test]
fn hangs_at_its_start() {
    let mut row = Row::begin("hangs_at_its_start", "never says a word (`startup_timeout_s: 1`)", |home| {
        chaos(home, "protocol: legacy, startup_timeout_s: 1")
    });
    row.at_start("hang");
    let says = &["not ready within 1.0 s (startup_timeout_s)", "tried again in"];
    row.fails("", Vec::new(), &Told { error: NOT_STARTED, fault: "upstream", says, within: ms(3000) });
    row.at_start("");
    row.serves_again();
    row.end();
}

#[test]
fn starts_slowly() {
    let mut row = Row::begin("starts_slowly", "takes 600 ms to start", |home| chaos(home, "startup_timeout_s: 20"));
    row.at_start("slow 600");
    row.says("no error: the calls wait for the start, and share it");
    let calls: Vec<_> = (0..5).map(|_| row.send("")).collect();
    let pids: Vec<_> = calls.into_iter().map(|call| call.wait()["result"]["content"][0]["text"].to_string()).collect();
    assert!(pids.iter().all(|pid| *pid == pids[0] && pid != "null"), "{pids:?}");
    row.serves_again();
    row.end();
}

#[test]
fn noise_before_the_handshake() {
    let mut row =
        Row::begin("noise_before_the_handshake", "logs, colours and bytes that are no text on stdout first", |home| {
            chaos(home, "")
        });
    row.at_start("noise 200");
    row.says("no error: what is no message is skipped and kept for the log");
    row.works();
    row.serves_again();
    row.end();
}
