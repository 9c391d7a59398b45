//! A process that fails while calls are in flight.

use crate::{
    gateway::{Signal, ms, signal},
    row::{Row, Told, chaos},
};

const EXITED: &str = "provider_exited";

#[test]
fn exits_in_a_call() {
    let mut row =
        Row::begin("exits_in_a_call", "exits with 8 calls in flight", |home| chaos(home, "call_timeout_s: 15"));
    row.works();
    let others = row.hanging(7);
    let says = &["exited with code 6 while the call was in flight", "the next call tries it again", "out of ideas"];
    row.fails("exit", others, &Told { error: EXITED, fault: "upstream", says, within: ms(2000) });
    row.serves_again();
    row.end();
}

#[test]
fn is_killed_in_a_call() {
    let mut row =
        Row::begin("is_killed_in_a_call", "SIGKILL with 8 calls in flight", |home| chaos(home, "call_timeout_s: 15"));
    let pid = row.works().parse().unwrap();
    let calls = row.hanging(8);
    let began = std::time::Instant::now();
    signal(pid, Signal::KILL);
    let says = &["was killed by signal 9 (SIGKILL) while the call was in flight"];
    row.fail(began, calls, &Told { error: EXITED, fault: "upstream", says, within: ms(2000) });
    row.serves_again();
    row.end();
}

#[test]
fn exits_in_the_middle_of_a_line() {
    let mut row = Row::begin("exits_in_the_middle_of_a_line", "exits after half of its answer", |home| chaos(home, ""));
    row.works();
    let says = &["exited with code 7 while the call was in flight"];
    row.fails("mid-line", Vec::new(), &Told { error: EXITED, fault: "upstream", says, within: ms(1000) });
    row.serves_again();
    row.end();
}

#[test]
fn does_not_answer_a_call() {
    let mut row =
        Row::begin("does_not_answer_a_call", "answers one call never, and others (`call_timeout_s: 1`)", |home| {
            chaos(home, "")
        });
    let pid = row.works();
    let says = &["did not answer within 1.0 s (call_timeout_s); the call was cancelled"];
    row.fails("hang", Vec::new(), &Told { error: "timeout", fault: "upstream", says, within: ms(3000) });
    row.serves_again();
    assert_eq!(row.works(), pid, "it lives on");
    row.end();
}

#[test]
fn answers_too_late() {
    let mut row = Row::begin("answers_too_late", "answers a call after it was given up", |home| chaos(home, ""));
    let pid = row.works();
    let says = &["did not answer within 1.0 s (call_timeout_s); the call was cancelled"];
    row.fails("late", Vec::new(), &Told { error: "timeout", fault: "upstream", says, within: ms(3000) });
    // The late one is nobody's: the next calls get their own.
    (0..5).for_each(|_| assert_eq!(row.works(), pid));
    assert!(!row.client.lines().iter().any(|line| line.contains("\"late\"")));
    row.serves_again();
    row.end();
}

#[test]
fn is_stopped() {
    let mut row = Row::begin("is_stopped", "SIGSTOP (`call_timeout_s: 1`, `health_check_interval_s: 1`)", |home| {
        chaos(home, "health_check_interval_s: 1, max_consecutive_failures: 1")
    });
    let pid = row.works();
    let says = &["did not answer within 1.0 s (call_timeout_s)"];
    row.fails("stop", Vec::new(), &Told { error: "timeout", fault: "upstream", says, within: ms(3000) });
    // The probe finds out that it hangs, and ends it.
    row.is_ended("health_probe_failed");
    row.serves_again();
    assert_ne!(row.works(), pid, "another process");
    row.end();
}

#[test]
fn crashes_again_and_again() {
    let mut row = Row::begin("crashes_again_and_again", "exits at each start, without end", |home| chaos(home, ""));
    row.at_start("exit");
    let says = &["exited with code 3 before it was ready", "tried again in"];
    row.fails("", Vec::new(), &Told { error: "provider_not_started", fault: "upstream", says, within: ms(3000) });
    // While it is waited with, calls fail at once and start nothing.
    let began = std::time::Instant::now();
    let mut slowest = ms(0);
    let mut refused = 0;
    while began.elapsed() < ms(1500) {
        let asked = std::time::Instant::now();
        let answer = row.send("").wait();
        row.check(
            &answer,
            &Told { error: "provider_not_started", fault: "upstream", says: &["code 3"], within: ms(0) },
        );
        slowest = slowest.max(asked.elapsed());
        refused += 1;
        std::thread::sleep(ms(2));
    }
    let metrics =
        row.client.structured("hangar_metrics", crate::gateway::json!({"filter": "hangar_provider_failures"}));
    row.note(format!("{refused} calls were refused in 1.5 s, the slowest after {slowest:.1?}"));
    drop(metrics);
    row.at_start("");
    row.serves_again();
    row.end();
}
