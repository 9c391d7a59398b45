//! `stop` and `restart`, and finding gateways by their PID files.

use serde_json::json;

use super::rig::{Place, TWO, until};

#[test]
fn stop_waits_until_the_gateway_is_gone_and_says_how_long_it_took() {
    let place = Place::new(TWO);
    let mut gateway = place.serve();
    place.run(&["call", "math", "add", r#"{"a": 1, "b": 1}"#]).exits(0);
    let done = place.run(&["stop"]).exits(0);
    done.says(&["stopped the http gateway", &format!("pid {}", gateway.pid()), " s"]);
    assert_eq!(gateway.exited(), Some(Some(0)), "it is gone when the command returns");
    assert!(place.files().is_empty(), "{:?}", place.files());
    place.run(&["stop"]).exits(4).complains(&["no running gateway"]);
    place.run(&["restart"]).exits(4).complains(&["no running gateway"]);
}

#[test]
fn several_gateways_of_one_file_are_stopped_together_and_others_are_left_alone() {
    let (place, other) = (Place::new(TWO), Place::new(TWO));
    let neighbour = other.serve();
    let (http, stdio) = (place.serve(), place.serve_stdio());
    let report = place.run(&["stop", "--json"]).exits(0).json();
    let mut pids: Vec<_> = report["stopped"].as_array().unwrap().iter().map(|one| one["pid"].clone()).collect();
    pids.sort_by_key(ToString::to_string);
    let mut want = [json!(http.pid()), json!(stdio.pid())];
    want.sort_by_key(ToString::to_string);
    assert_eq!(pids, want);
    assert_eq!(other.run(&["status", "--json"]).exits(0).json()["pid"], neighbour.pid());
}

#[test]
fn one_of_several_can_be_named() {
    let place = Place::new(TWO);
    let (http, stdio) = (place.serve(), place.serve_stdio());
    let status = |socket: &str| place.run(&["status", "--json", "--socket", socket]).json();
    let sockets = place.sockets();
    let of = |pid: u32| {
        let found = sockets.iter().find(|path| path.to_string_lossy().ends_with(&format!("-{pid}.sock"))).unwrap();
        found.to_string_lossy().into_owned()
    };
    let address = status(&of(http.pid()))["address"].as_str().unwrap().to_owned();
    place.run(&["restart", "--url", &format!("http://{address}")]).exits(0).says(&[&format!("pid {}", http.pid())]);
    place.run(&["stop", "--socket", &of(stdio.pid())]).exits(0).says(&["stopped the stdio gateway"]);
    assert_eq!(place.run(&["status", "--json"]).exits(0).json()["pid"], http.pid());
}

#[test]
fn restart_keeps_the_pid_and_tells_what_is_in_force() {
    let place = Place::new(TWO);
    let gateway = place.serve();
    let before = place.run(&["status", "--json"]).exits(0).json();
    place.write("providers:\n  math: {command: [hangar, demo-server, math]}\nconfig_reload: {enabled: false}\n");
    let report = place.run(&["restart", "--json"]).exits(0).json();
    assert_eq!(report["restarted"][0]["pid"], gateway.pid(), "{report}");
    let after = place.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&after["pid"], &after["address"]), (&before["pid"], &before["address"]));
    assert_ne!(after["generation_id"], before["generation_id"]);
    assert_eq!(after["providers"]["total"], 1);
    place.run(&["restart"]).exits(0).says(&["restarted the http gateway", "version"]);
}

#[test]
fn a_restart_with_a_broken_file_exits_3_shows_the_problem_and_changes_nothing() {
    let place = Place::new(TWO);
    let gateway = place.serve();
    place.write("providers:\n  math: {comand: [hangar]}\n");
    for _ in 0..2 {
        place.run(&["restart"]).exits(3).complains(&[
            "refused",
            "serves on",
            "config.yaml:2:",
            "did you mean `command`?",
        ]);
    }
    assert_eq!(place.run(&["status", "--json"]).json()["pid"], gateway.pid());
}

#[test]
fn a_restart_onto_a_program_that_does_not_work_is_refused() {
    let place = Place::new(TWO);
    // The program is replaced while it runs, as an upgrade does.
    let program = place.dir.path().join("hangar-copy");
    std::fs::copy(env!("CARGO_BIN_EXE_hangar"), &program).unwrap();
    let _gateway = place.serve_with(&program);
    let next = place.dir.path().join("next");
    std::fs::write(&next, "#!/bin/sh\necho half a download >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(&next, &program).unwrap();
    place.run(&["restart"]).exits(5).complains(&["does not work", "half a download"]);
    // And onto one that does.
    std::fs::copy(env!("CARGO_BIN_EXE_hangar"), &next).unwrap();
    std::fs::rename(&next, &program).unwrap();
    place.run(&["restart"]).exits(0);
}

#[test]
fn a_gateway_is_found_by_its_pid_file_and_a_stale_one_is_told() {
    let place = Place::new(TWO);
    let file = place.dir.path().join("my.pid");
    let file = file.to_str().unwrap();
    let gateway = place.serve_words(&["serve", "--http", "--port", "0", "--pid-file", file]);
    until("the file is written", || place.run(&["status", "--pid-file", file]).code == Some(0));
    place.run(&["reload", "--pid-file", file]).exits(0).says(&["generation 1"]);
    place.run(&["restart", "--pid-file", file]).exits(0);
    let pid = gateway.pid();
    gateway.kill();
    place.run(&["stop", "--pid-file", file]).exits(4).complains(&["stale", &pid.to_string()]);
    place.run(&["status", "--pid-file", file]).exits(4).complains(&["stale"]);
    place.run(&["status", "--pid-file", "/no/such.pid"]).exits(4).complains(&["there is no PID file"]);
}
