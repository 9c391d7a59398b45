//! Earlier gateways that have lost their client and did not notice: `cleanup.max_instances`, through the shipped binary.

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/orphan.rs"]
mod orphan;

use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
    sync::Arc,
};

use gateway::{Being, Gateway, Home, SOON, Signal, UNWATCHED, Value, config, eventually, holds_for, json, ms, signal};
use orphan::Orphan;

const KEEP_ONE: &str = "config_reload: {enabled: false}\ncleanup: {max_instances: 1}\n";

fn pid(line: &str, being: Being) -> bool {
    line.contains(&format!("pid={} ", being.pid))
}

/// The new gateway says this about the earlier one.
fn says(gateway: &Gateway, event: &str, being: Being) -> String {
    eventually(&format!("{event} about {being:?}"), SOON, || {
        gateway.log().lines().find(|line| line.contains(event) && pid(line, being)).map(str::to_owned)
    })
}

#[test]
fn a_hung_gateway_whose_client_is_gone_is_ended_by_the_next_one_with_all_its_providers() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), KEEP_ONE));
    let mut old = Orphan::start(&home, Stdio::piped(), "");
    old.lose_parent();
    old.hang();
    old.stdin = None;
    let new = Gateway::again(&home);
    says(&new, "stale_gateway_found", old.being);
    let line = says(&new, "stale_gateway_ended", old.being);
    for part in ["uptime_s=", "its parent is gone and its stdin is at its end", "SIGTERM"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!old.being.lives());
    // Woken, it sees the end of its stdin as well; the signal may then be its second order to stop, which takes it at once.
    let log = old.log();
    assert!(
        log.contains("gateway_stopping") && (log.contains("gateway_stopped") || log.contains("second stop")),
        "{log}"
    );
    home.assert_starts_equal_stops("a");
    new.client.pid_of("a");
    new.stop();
}

#[test]
fn one_among_the_newest_is_kept_and_told() {
    let home = Home::new();
    home.put(&config("", UNWATCHED));
    let mut old = Orphan::start(&home, Stdio::piped(), "");
    old.lose_parent();
    old.hang();
    old.stdin = None;
    let new = Gateway::again(&home);
    let line = says(&new, "stale_gateway_kept", old.being);
    assert!(line.contains("one of the newest"), "{line}");
    old.assert_kept();
}

#[test]
fn of_several_the_oldest_go_and_the_newest_stay_this_one_counted() {
    let home = Home::new();
    // The old ones look, too, and on a busy machine not before the others have lost their parents: they keep everybody.
    home.put(&config("", "config_reload: {enabled: false}\ncleanup: {max_instances: 9}\n"));
    let mut old: Vec<Orphan> = (0..3).map(|_| Orphan::start(&home, Stdio::piped(), "")).collect();
    for orphan in &mut old {
        orphan.lose_parent();
        orphan.hang();
        orphan.stdin = None;
    }
    home.put(&config("", "config_reload: {enabled: false}\ncleanup: {max_instances: 2}\n"));
    let new = Gateway::again(&home);
    for gone in &old[..2] {
        says(&new, "stale_gateway_ended", gone.being);
    }
    says(&new, "stale_gateway_kept", old[2].being);
    old[2].assert_kept();
    assert!(old[..2].iter().all(|gone| !gone.being.lives()));
}

#[test]
fn one_whose_client_lives_is_never_ended() {
    let home = Home::new();
    home.put(&config("", KEEP_ONE));
    let old = Gateway::again(&home);
    let being = Being::of(old.pid()).unwrap();
    eventually("its record is written", SOON, || {
        let mut entries = fs::read_dir(home.path("run/hangar")).unwrap().flatten();
        entries.find(|e| e.path().extension().is_some_and(|e| e == "json") && e.metadata().unwrap().len() > 0)
    });
    let new = Gateway::again(&home);
    let line = says(&new, "stale_gateway_kept", being);
    assert!(line.contains("its parent lives"), "{line}");
    holds_for("it is left alone", ms(1500), || being.lives());
    let status = old.client.structured("hangar_server_info", json!({}));
    assert_eq!(status["client"], json!({"parent": "alive", "stdin": "open"}), "{status}");
    new.stop();
    old.stop();
}

#[test]
fn one_whose_parent_is_gone_but_whose_stdin_is_held_is_never_ended_hung_or_not() {
    for hang in [false, true] {
        let home = Home::new();
        home.put(&config("", KEEP_ONE));
        let mut old = Orphan::start(&home, Stdio::piped(), "");
        old.lose_parent();
        if hang {
            old.hang();
        }
        let new = Gateway::again(&home);
        let line = says(&new, "stale_gateway_kept", old.being);
        assert!(line.contains("another process holds its stdin"), "{line}");
        old.assert_kept();
    }
}

#[test]
fn of_a_socket_the_gateway_itself_is_asked_and_only_silence_counts_against_it() {
    let home = Home::new();
    home.put(&config("", KEEP_ONE));
    let (client, stdin) = UnixStream::pair().unwrap();
    let mut old = Orphan::start(&home, Stdio::from(OwnedFd::from(stdin)), "");
    old.lose_parent();
    let new = Gateway::again(&home);
    let line = says(&new, "stale_gateway_kept", old.being);
    assert!(line.contains("as it says itself"), "{line}");
    old.assert_kept();
    new.stop();
    old.hang();
    let new = Gateway::again(&home);
    let line = says(&new, "stale_gateway_ended", old.being);
    assert!(line.contains("does not answer"), "{line}");
    assert!(!old.being.lives());
    drop(client);
}

#[test]
fn a_gateway_over_http_and_one_of_another_file_are_none_of_its_business() {
    let home = Home::new();
    home.put(&config("", KEEP_ONE));
    let mut http = Orphan::start(&home, Stdio::piped(), "--http --port 0");
    http.lose_parent();
    http.stdin = None;
    let elsewhere = Home::new();
    elsewhere.put(&config("", KEEP_ONE));
    let mut other = Orphan::start(&home_of(&home, &elsewhere), Stdio::piped(), "");
    other.lose_parent();
    other.hang();
    other.stdin = None;
    let new = Gateway::again(&home);
    http.assert_kept();
    other.assert_kept();
    assert!(!new.log().contains("stale_gateway"), "{}", new.log());
    new.stop();
}

#[test]
fn who_started_it_is_remembered_over_a_restart() {
    let home = Home::new();
    home.put(&config("", KEEP_ONE));
    let mut old = Orphan::start(&home, Stdio::piped(), "");
    let client = |old: &Orphan| {
        let out = Command::new(env!("CARGO_BIN_EXE_hangar"))
            .args(["status", "--json", "--socket"])
            .arg(record(&home, old.being)["socket"].as_str().unwrap())
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&out.stdout).unwrap_or_default()["client"].take()
    };
    assert_eq!(client(&old), json!({"parent": "alive", "stdin": "open"}));
    old.lose_parent();
    let before = record(&home, old.being);
    signal(old.being.pid, Signal::USR2);
    eventually("its next life has started", SOON, || {
        let now = record(&home, old.being);
        (now["generation_id"].is_string() && now["generation_id"] != before["generation_id"]).then_some(())
    });
    assert_eq!(record(&home, old.being)["parent"], before["parent"]);
    assert_eq!(client(&old), json!({"parent": "gone", "stdin": "open"}));
    // Its client is still there, and goes in order now.
    old.stdin = None;
    eventually("it ends by itself", SOON, || (!old.being.lives()).then_some(()));
}

fn record(home: &Home, being: Being) -> Value {
    let mut entries = fs::read_dir(home.path("run/hangar")).unwrap().flatten().map(|entry| entry.path());
    let path = entries.find(|path| path.to_string_lossy().ends_with(&format!("-{}.json", being.pid))).unwrap();
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_default()
}

/// The configuration of `other` in the runtime directory of `home`.
fn home_of(home: &Arc<Home>, other: &Arc<Home>) -> Arc<Home> {
    let run = other.path("run");
    fs::remove_dir(&run).unwrap();
    std::os::unix::fs::symlink(home.path("run"), &run).unwrap();
    // A place to see that the link works.
    File::create(run.join("seen")).unwrap();
    assert!(home.path("run/seen").exists());
    other.clone()
}
