//! Nothing that a server started outlives it, however it left and however we went: the matrix of SUPERVISION 3.2.

use std::{
    collections::BTreeSet,
    io::{BufRead, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use hangar::transport::{Close, Marker};
use rustix::process::Signal;

use crate::rig::{Being, PROVIDER, Rig, STOP, eventually, recorded, spec};

const KINDS: [&str; 4] = ["plain", "setsid", "double-fork", "cleared-env"];
const GATEWAY: &str = "HANGAR_TEST_GATEWAY";

/// Server options: one descendant of every kind, polite (obeys EOF and SIGTERM) or stubborn (obeys neither).
fn options(stubborn: bool, pids: &Path) -> Vec<String> {
    // Should the shim fail, its survivors are gone before anybody wonders.
    let mut options = ["--lifetime", "60", "--pids", pids.to_str().unwrap()].map(str::to_owned).to_vec();
    for kind in KINDS {
        options
            .extend(["--grandchild".to_owned(), if stubborn { format!("{kind},stubborn") } else { kind.to_owned() }]);
    }
    if stubborn {
        options.extend(["--ignore-eof".to_owned(), "--ignore-term".to_owned()]);
    }
    options
}

/// The server, its four descendants and its shim, once all of them run.
async fn everybody(pids: &Path) -> BTreeSet<Being> {
    let mut all =
        eventually("five run", Duration::from_secs(10), || Some(recorded(pids)).filter(|all| all.len() == 5)).await;
    // The server wrote itself down first.
    let text = std::fs::read_to_string(pids).unwrap();
    let server = text.split_ascii_whitespace().next().unwrap().parse().unwrap();
    let shim = Being::of(server).unwrap().parent();
    all.insert(Being::of(shim).unwrap());
    all
}

async fn nobody_survives(all: &BTreeSet<Being>, what: &str) {
    let limit = STOP.grace + STOP.term + Duration::from_secs(1);
    eventually(what, limit, || all.iter().all(|b| !b.lives()).then_some(())).await;
}

async fn closed_by_us(stubborn: bool, how: Close) {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let options = options(stubborn, &pids);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut rig = Rig::start(&options).await;
    let all = everybody(&pids).await;
    rig.link.close(how);
    rig.exit().await;
    // The end is told when everything is gone, not before.
    let left: Vec<_> = all.iter().filter(|b| b.lives()).collect();
    assert!(left.is_empty(), "stubborn={stubborn} {how:?}: {left:?} of {all:?}");
}

async fn gateway_gone(stubborn: bool, how: &str) {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let mut gateway = spawn_gateway(stubborn, &pids);
    let all = everybody(&pids).await;
    match how {
        "killed" => gateway.kill().unwrap(),
        _ => gateway.stdin.as_mut().unwrap().write_all(b"exec\n").unwrap(),
    }
    nobody_survives(&all, &format!("stubborn={stubborn} gateway {how}")).await;
    let _ = gateway.kill();
    gateway.wait().unwrap();
}

/// A gateway process: this very test program, running [`gateway_process`].
fn spawn_gateway(stubborn: bool, pids: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "survivors::gateway_process", "--ignored", "--nocapture"])
        .env(GATEWAY, options(stubborn, pids).join("\n"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Opens a server and waits: to be killed, or to become another program when told so.
#[tokio::test]
#[ignore = "not a test of its own: the gateway that the tests below kill"]
async fn gateway_process() {
    let Ok(options) = std::env::var(GATEWAY) else { return };
    let argv: Vec<&str> = std::iter::once(PROVIDER).chain(options.lines()).collect();
    let _rig = Rig::open(spec(&argv, &[])).await.unwrap();
    let told = std::thread::spawn(|| std::io::stdin().lock().lines().next().transpose().unwrap());
    while !told.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if told.join().unwrap().as_deref() == Some("exec") {
        let error = Command::new("sleep").arg("20").exec();
        panic!("{error}");
    }
}

macro_rules! matrix {
    ($($name:ident: $cell:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $cell.await;
            }
        )*
    };
}

matrix! {
    a_polite_family_is_gone_after_stdin_is_closed: closed_by_us(false, Close::Graceful);
    a_stubborn_family_is_gone_after_stdin_is_closed: closed_by_us(true, Close::Graceful);
    a_polite_family_is_gone_after_sigterm: closed_by_us(false, Close::Now);
    a_stubborn_family_is_gone_after_sigterm: closed_by_us(true, Close::Now);
    a_polite_family_is_gone_after_the_gateway_is_killed: gateway_gone(false, "killed");
    a_stubborn_family_is_gone_after_the_gateway_is_killed: gateway_gone(true, "killed");
    a_polite_family_is_gone_after_the_gateway_execs: gateway_gone(false, "exec");
    a_stubborn_family_is_gone_after_the_gateway_execs: gateway_gone(true, "exec");
}

#[tokio::test]
async fn signals_meant_for_the_gateway_do_not_end_a_shim() {
    let mut rig = Rig::start(&[]).await;
    let shim = Being::of(rig.link.pid().unwrap()).unwrap().parent();
    for ignored in [Signal::HUP, Signal::USR1, Signal::USR2] {
        signal(shim, ignored);
    }
    assert_eq!(rig.text("echo", serde_json::json!({"a": 1})).await, r#"{"a":1}"#);
    // ... and SIGTERM to it begins at the TERM rung.
    signal(shim, Signal::TERM);
    let exit = rig.exit().await;
    assert_eq!(exit.rung, Some(hangar::transport::Rung::Term));
}

#[tokio::test]
async fn a_shim_that_is_killed_is_told_and_what_it_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let options = options(true, &pids);
    // The descendant without environment carries no marker: the one gap that is left.
    let cleared = options.iter().position(|o| o.starts_with("cleared-env")).unwrap();
    let options: Vec<&str> = options
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != cleared && *i + 1 != cleared)
        .map(|(_, o)| o.as_str())
        .collect();
    let mut rig = Rig::start(&options).await;
    let all =
        eventually("four run", Duration::from_secs(10), || Some(recorded(&pids)).filter(|all| all.len() == 4)).await;
    let shim = Being::of(rig.link.pid().unwrap()).unwrap().parent();
    signal(shim, Signal::KILL);
    let exit = rig.exit().await;
    assert_eq!(exit.to_string(), "was lost: its shim was killed by signal 9");
    assert!(all.iter().all(|b| !b.lives()), "{:?}", all.iter().filter(|b| b.lives()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sweep_ends_other_generations_of_its_instance_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let options = options(true, &pids);
    let argv: Vec<&str> = std::iter::once(PROVIDER).chain(options.iter().map(String::as_str)).collect();
    let mut old = Rig::open_marked(spec(&argv, &[]), "sweep-1", "old").await.unwrap();
    let all = everybody(&pids).await;
    let mut mine = Rig::open_marked(spec(&[PROVIDER], &[]), "sweep-1", "new").await.unwrap();
    let mut strangers = Rig::open_marked(spec(&[PROVIDER], &[]), "sweep-2", "old").await.unwrap();
    let marker = Marker { instance: "sweep-1".into(), generation: "new".into() };
    let found = tokio::task::spawn_blocking(move || hangar::transport::sweep(&marker, &|_| false)).await.unwrap();
    // Its shim was alive and did it all, so that even the one without environment is gone.
    assert_eq!(found, 1);
    assert!(all.iter().all(|b| !b.lives()));
    assert_eq!(old.exit().await.rung, Some(hangar::transport::Rung::Kill));
    for rig in [&mut mine, &mut strangers] {
        assert_eq!(rig.text("echo", serde_json::json!({})).await, "{}");
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
