//! How a server's end is noticed, told and brought about.

use std::time::{Duration, Instant};

use hangar::transport::{Close, Exit, ExitCause, Rung, TransportError};
use serde_json::json;

use crate::rig::{Being, PROVIDER, Rig, STOP, eventually, recorded, spec};

fn exit(cause: ExitCause, rung: Option<Rung>) -> Exit {
    Exit { cause, rung }
}

#[tokio::test]
async fn an_exit_code_is_told_from_a_signal_of_the_same_status() {
    let mut rig = Rig::start(&[]).await;
    rig.call("exit", &json!({"code": 137}));
    assert_eq!(rig.exit().await, exit(ExitCause::Code(137), None));

    let mut rig = Rig::start(&[]).await;
    rig.call("exit", &json!({"signal": 9}));
    assert_eq!(rig.exit().await, exit(ExitCause::Signal(9), None));
}

#[tokio::test]
async fn each_rung_of_the_ladder_is_climbed_only_when_needed_and_told() {
    for (options, how, cause, rung, at_least) in [
        (&[][..], Close::Graceful, ExitCause::Code(0), Rung::StdinClosed, Duration::ZERO),
        (&["--ignore-eof"], Close::Graceful, ExitCause::Signal(15), Rung::Term, STOP.grace),
        (&["--ignore-eof", "--ignore-term"], Close::Graceful, ExitCause::Signal(9), Rung::Kill, STOP.grace + STOP.term),
        (&["--ignore-eof"], Close::Now, ExitCause::Signal(15), Rung::Term, Duration::ZERO),
        (&["--ignore-eof", "--ignore-term"], Close::Now, ExitCause::Signal(9), Rung::Kill, STOP.term),
    ] {
        let mut rig = Rig::start(options).await;
        rig.text("pid", json!({})).await;
        let start = Instant::now();
        rig.link.close(how);
        rig.link.close(how);
        assert_eq!(rig.exit().await, exit(cause, Some(rung)), "{options:?} {how:?}");
        assert!(start.elapsed() >= at_least, "{options:?} {how:?}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_hasty_close_overtakes_a_graceful_one() {
    let mut patient = spec(&[PROVIDER, "--ignore-eof"], &[]);
    patient.stop.grace = Duration::from_secs(600);
    let mut rig = Rig::open(patient).await.unwrap();
    rig.text("pid", json!({})).await;
    rig.link.close(Close::Graceful);
    rig.link.close(Close::Now);
    assert_eq!(rig.exit().await, exit(ExitCause::Signal(15), Some(Rung::Term)));
}

#[tokio::test]
async fn p25_a_crash_is_noticed_at_once_though_a_grandchild_holds_stdout() {
    for grandchild in ["plain", "plain,stubborn", "setsid"] {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let mut rig = Rig::start(&["--grandchild", grandchild, "--pids", pids.to_str().unwrap()]).await;
        let below =
            eventually("both run", Duration::from_secs(5), || Some(recorded(&pids)).filter(|all| all.len() == 2)).await;
        rig.call("exit", &json!({"code": 7}));
        let start = Instant::now();
        assert_eq!(rig.exit().await, exit(ExitCause::Code(7), None));
        // Measured: 5 ms, and 0.4 s for the stubborn one. Without the shim: never.
        assert!(start.elapsed() < Duration::from_secs(3), "{grandchild}: {:?}", start.elapsed());
        assert!(below.iter().all(|b| !b.lives()), "{grandchild}");
    }
}

#[tokio::test]
async fn the_last_words_of_a_crash_are_there_when_its_end_is_told() {
    let mut rig = Rig::start(&["--crash-starts", "1", "--counter", "/dev/null"]).await;
    assert_eq!(rig.exit().await, exit(ExitCause::Code(9), None));
    assert_eq!(rig.output.tail(1), ["crashing at start 1"]);

    let mut rig = Rig::start(&[]).await;
    for i in 0..200 {
        rig.call("echo", &json!({"i": i}));
    }
    rig.call("crash_mid_line", &json!({}));
    assert_eq!(rig.exit().await, exit(ExitCause::Code(1), None));
    assert_eq!(rig.delivered().len(), 200);
    assert!(rig.output.tail(1)[0].starts_with(r#"{"jsonrpc":"2.0","id":201,"#));
    let late = rig.link.send("{}".into(), None);
    assert_eq!(late, Err(TransportError::Closed));
}

#[tokio::test]
async fn a_server_that_closes_its_output_and_lives_on_is_ended() {
    let mut rig = Rig::start(&[]).await;
    let server = Being::of(rig.link.pid().unwrap()).unwrap();
    rig.call("close_stdout", &json!({}));
    let exit = rig.exit().await;
    assert!(matches!(&exit.cause, ExitCause::Lost(why) if why.contains("closed its output")), "{exit}");
    assert_eq!(exit.rung, Some(Rung::Term));
    assert!(!server.lives());
}

#[tokio::test]
async fn dropping_the_connection_ends_the_server() {
    let rig = Rig::start(&["--ignore-eof", "--ignore-term"]).await;
    let server = Being::of(rig.link.pid().unwrap()).unwrap();
    let shim = Being::of(server.parent()).unwrap();
    rig.drop_connection();
    eventually("both gone", STOP.grace + STOP.term + Duration::from_secs(1), || {
        (!server.lives() && !shim.lives()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_open_that_is_given_up_half_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let mut opened = 0;
    for delay_us in (0..6000).step_by(200) {
        let spec = spec(&[PROVIDER, "--pids", pids.to_str().unwrap()], &[]);
        let open = tokio::time::timeout(Duration::from_micros(delay_us), Rig::open(spec)).await;
        opened += usize::from(open.is_ok());
    }
    eprintln!("{opened} of 30 got so far as to be open");
    // The last one may not even have written itself down yet: wait until everything has had its time.
    let over = Instant::now() + Duration::from_millis(300);
    eventually("all gone", Duration::from_secs(5), || {
        (Instant::now() > over && recorded(&pids).iter().all(|b| !b.lives())).then_some(())
    })
    .await;
}
