//! `hangar doctor`, through the shipped binary: each check seen to find something, and what is left over ended after a yes.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/orphan.rs"]
mod orphan;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use engine::Engine;
use gateway::{
    Being, Gateway, Home, SOON, Signal, UNWATCHED, Value, config, eventually, json, processes::parent, signal,
};
use orphan::Orphan;

fn command(home: &Home, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
    command.env("HOME", home.path("")).env("XDG_STATE_HOME", home.path("state"));
    command.env("XDG_RUNTIME_DIR", home.path("run")).env("MCP_CONFIG", home.config()).stdin(Stdio::null());
    command
}

fn doctor(home: &Home, words: &[&str]) -> Output {
    // Of this home alone, and `--end` ends only what bears the mark of its state directory: others may run gateways on this machine, too.
    let config = home.config();
    command(home, env!("CARGO_BIN_EXE_hangar")).args(["doctor", "--config"]).arg(config).args(words).output().unwrap()
}

fn report(home: &Home, words: &[&str]) -> (i32, Value) {
    read(doctor(home, &[words, &["--json"]].concat()))
}

fn read(out: Output) -> (i32, Value) {
    let text = String::from_utf8(out.stdout).unwrap();
    let told =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?} {}", String::from_utf8_lossy(&out.stderr)));
    (out.status.code().unwrap(), told)
}

/// What was found by a check, joined; all of it when the check is empty.
fn found(report: &Value, check: &str) -> String {
    let findings = report["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "found");
    let of_check = findings.filter(|f| check.is_empty() || f["check"] == check);
    of_check.map(|f| format!("{} | {}\n", f["message"].as_str().unwrap(), f["help"].as_str().unwrap_or("-"))).collect()
}

#[track_caller]
fn finds(home: &Home, check: &str, says: &[&str]) {
    let (code, report) = report(home, &[]);
    let text = found(&report, check);
    assert!(says.iter().all(|part| text.contains(part)), "{check}: {says:?} not in {text:?}; {report}");
    assert_eq!((code, &report["status"]), (1, &json!("found")));
}

#[test]
fn where_all_is_well_it_says_so_and_makes_nothing() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    let (code, told) = report(&home, &[]);
    assert_eq!((code, found(&told, "").as_str(), &told["status"]), (0, "", &json!("fine")), "{told}");
    for place in ["run/hangar", "state/hangar"] {
        assert!(!home.path(place).exists(), "{place}");
    }
    let gateway = Gateway::again(&home);
    gateway.client.pid_of("a");
    let out = doctor(&home, &[]);
    let text = String::from_utf8(out.stdout).unwrap();
    for part in ["is valid: 1 provider", "1 command,", "usable and private", "none is stale", "nothing found"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains(&format!("pid {}, stdio", gateway.pid())), "{text}");
    assert_eq!(out.status.code(), Some(0), "{text}");
    gateway.stop();
}

#[test]
fn a_configuration_that_is_missing_or_wrong_and_a_command_that_is_not_there_are_found() {
    let home = Home::new();
    finds(&home, "configuration", &["no such file", "named by --config"]);
    home.put("providers:\n  a: {comand: [x]}\n  b: {command: [no-such-program-here]}\n");
    finds(&home, "configuration", &["config.yaml:2:7", "unknown key", "HGR0102", "did you mean"]);
    finds(&home, "commands", &["config.yaml:3:", "no-such-program-here", "HGR0303"]);
}

#[test]
fn directories_that_others_may_write_to_or_that_cannot_be_used_are_found() {
    let home = Home::new();
    home.put(&config("", UNWATCHED));
    let open = |path: &Path| {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    open(&home.path("run/hangar"));
    finds(&home, "runtime", &["run/hangar", "everybody may write", "chmod go-w"]);
    open(&home.path("state/hangar"));
    finds(&home, "state", &["others may write", "chmod go-w"]);
    fs::remove_dir(home.path("state/hangar")).unwrap();
    fs::write(home.path("state/hangar"), "").unwrap();
    finds(&home, "state", &["is no directory"]);
    let long = home.path("run").join("d".repeat(90));
    let out = command(&home, env!("CARGO_BIN_EXE_hangar"))
        .args(["doctor", "--json"])
        .env("XDG_RUNTIME_DIR", {
            fs::create_dir(&long).unwrap();
            &long
        })
        .output()
        .unwrap();
    assert!(found(&read(out).1, "runtime").contains("may have 107"));
}

#[test]
fn an_engine_that_is_needed_and_does_not_answer_is_found_and_what_is_relaxed_is_told() {
    let home = Home::new();
    home.put(&config("  c: {mode: docker, image: \"x:1\", network: bridge}\n", UNWATCHED));
    let out = command(&home, env!("CARGO_BIN_EXE_hangar"))
        .args(["doctor", "--json"])
        .env("DOCKER_HOST", "unix:///no/such/engine.sock")
        .output()
        .unwrap();
    let (code, told) = read(out);
    assert!(found(&told, "engine").contains("/no/such/engine.sock"), "{told}");
    assert_eq!(code, 1);
    let notes: Vec<_> = told["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "note").collect();
    assert!(
        notes.iter().any(|f| f["check"] == "containers" && f["message"] == "c is relaxed: network: bridge"),
        "{told}"
    );
}

#[test]
fn too_few_open_files_are_found() {
    let home = Home::new();
    home.put(&config("", UNWATCHED));
    let script = format!("ulimit -n 64; exec {} doctor --json", env!("CARGO_BIN_EXE_hangar"));
    let (code, told) = read(command(&home, "/bin/sh").args(["-c", &script]).output().unwrap());
    assert!(found(&told, "open files").contains("the limit is 64"), "{told}");
    assert_eq!(code, 1);
}

#[test]
fn the_files_of_a_killed_gateway_are_found() {
    let home = Home::new();
    let (gateway, _) = Gateway::over_http(&home, "");
    eventually("it has no fault of its own", SOON, || (report(&home, &[]).0 == 0).then_some(()));
    drop(gateway);
    finds(&home, "PID files", &[".json was left by", ".pid was left by"]);
}

/// Hung, its parent gone, its stdin at its end.
fn lost(home: &Arc<Home>) -> Orphan {
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    let mut orphan = Orphan::start(home, Stdio::piped(), "");
    orphan.lose_parent();
    orphan.hang();
    orphan.stdin = None;
    orphan
}

#[test]
fn a_gateway_without_a_client_is_found_and_ended_only_after_a_yes() {
    let home = Home::new();
    let orphan = lost(&home);
    finds(&home, "gateways", &[&format!("pid {}", orphan.being.pid), "has lost its client", "stdin is at its end"]);
    let (code, told) = report(&home, &["--processes"]);
    assert_eq!((code, &told["gateways"][0]["client"]), (1, &json!("gone")), "{told}");

    let out = doctor(&home, &["--processes", "--end"]);
    let complaint = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(5), "{complaint}");
    assert!(complaint.contains("--yes"), "{complaint}");
    assert!(on_a_terminal(&home, "n").contains("end 1 "));
    assert!(orphan.being.lives(), "a no is a no");

    assert!(on_a_terminal(&home, "y").contains("SIGTERM"));
    assert!(!orphan.being.lives());
    let (code, told) = report(&home, &["--processes", "--end", "--yes"]);
    assert_eq!((code, &told["status"], &told["ended"]), (0, &json!("fine"), &json!([])), "{told}");
}

/// `script` gives it a terminal; what it writes there.
fn on_a_terminal(home: &Home, answer: &str) -> String {
    let line =
        format!("{} doctor --processes --end --config {}", env!("CARGO_BIN_EXE_hangar"), home.config().display());
    let mut command = command(home, "script");
    let mut child = command
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) runs");
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{answer}").unwrap();
    let out = child.wait_with_output().unwrap();
    drop(stdin);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn processes_of_a_live_gateway_are_listed_and_never_ended() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &["--grandchild", "double-fork,stubborn"], ""));
    let server = gateway.client.pid_of("a");
    eventually("the grandchild is there", SOON, || (home.beings("a").len() == 2).then_some(()));
    let (code, told) = report(&home, &["--processes", "--end", "--yes"]);
    assert_eq!((code, &told["status"]), (0, &json!("fine")), "{told}");
    let own: Vec<_> =
        told["processes"].as_array().unwrap().iter().filter(|p| p["gateway"] == json!(gateway.pid())).collect();
    assert_eq!(own.len(), 3, "shim, server, grandchild: {told}");
    assert!(own.iter().all(|p| p["state"] == "live" && p["provider"] == "a" && p["uptime_s"].is_u64()), "{told}");
    assert!(own.iter().any(|p| p["pid"] == json!(server) && p["role"] == "provider"), "{told}");
    assert!(own.iter().any(|p| p["pid"] == json!(parent(server)) && p["role"] == "shim"), "{told}");
    let text = String::from_utf8(doctor(&home, &["--processes"]).stdout).unwrap();
    assert!(text.contains("of a live gateway") && text.contains("MiB"), "{text}");
    assert_eq!(gateway.client.pid_of("a"), server);
    gateway.stop();
}

#[test]
fn what_outlived_gateway_and_shim_is_listed_as_left_over_and_ended_by_identity() {
    let home = Home::new();
    let family = ["--grandchild", "setsid,stubborn", "--grandchild", "double-fork,stubborn"];
    let mut gateway = Gateway::start(&home, &home.provider("a", &family, ""));
    let server = gateway.client.pid_of("a");
    let dead = gateway.pid();
    eventually("all are there", SOON, || (home.beings("a").len() == 3).then_some(()));
    let neighbour = Gateway::start(&home, &home.provider("n", &[], ""));
    let kept = neighbour.client.pid_of("n");
    // The sweeps of those that have just started are over.
    let lock = home.path("state/hangar/sweep.lock");
    let free = || fs::File::options().append(true).open(&lock).ok().filter(|file| file.try_lock().is_ok());
    eventually("nobody sweeps", SOON, free);
    // Neither can do anything about the other's death.
    gateway.signal(Signal::STOP);
    signal(parent(server), Signal::KILL);
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    eventually("the server died with its shim", SOON, || Being::of(server).is_none().then_some(()));

    let left_over = |told: &Value| -> Vec<Value> {
        let all = told["processes"].as_array().unwrap().iter();
        all.filter(|p| p["state"] == "left_over" && p["gateway"] == json!(dead)).cloned().collect()
    };
    let (code, told) = report(&home, &["--processes"]);
    assert_eq!((code, left_over(&told).len()), (1, 2), "{told}");
    let (_, told) = report(&home, &["--processes", "--end", "--yes"]);
    let ours: Vec<_> = left_over(&told).iter().map(|p| p["pid"].clone()).collect();
    for pid in ours {
        let ended = told["ended"].as_array().unwrap().iter().find(|e| e["id"] == pid);
        assert!(ended.is_some_and(|e| e["outcome"] == "SIGKILL" && e["survived"] == false), "{told}");
    }
    assert!(home.beings("a").iter().all(|being| !being.lives()));
    assert!(left_over(&report(&home, &["--processes"]).1).is_empty());
    assert_eq!(neighbour.client.pid_of("n"), kept);
    drop(gateway);
    neighbour.stop();
}

#[test]
fn containers_are_listed_and_one_that_a_dead_gateway_left_over_is_removed() {
    let Some(engine) = Engine::bring() else { return };
    let home = Home::new();
    let stubborn = engine.provider("c", &["--ignore-eof", "--ignore-term"], "stop: {grace_s: 20, term_s: 20}");
    let mut gateway = Gateway::start(&home, &stubborn);
    gateway.client.tool("hangar_start", json!({"provider": "c"}));
    let (code, told) = report(&home, &["--processes"]);
    // Other gateways of this user may have containers, too.
    let pid = json!(gateway.pid());
    let of_ours = |told: &Value| -> Value {
        let mut all = told["containers"].as_array().unwrap().iter().filter(|c| c["gateway"] == pid);
        all.next().cloned().unwrap_or_else(|| panic!("{told}"))
    };
    let container = of_ours(&told);
    assert_eq!((code, &container["provider"], &container["state"]), (0, &json!("c"), &json!("live")), "{told}");
    assert!(container["memory_bytes"].as_u64().unwrap() > 100_000, "{container}");
    assert_eq!(container["gateway"], json!(gateway.pid()));
    let ours = |p: &&Value| p["role"] == "keeper" && p["gateway"] == pid;
    let keeper = told["processes"].as_array().unwrap().iter().find(ours).cloned();
    let keeper = keeper.unwrap_or_else(|| panic!("{told}"));
    assert_eq!((&keeper["provider"], &keeper["gateway"]), (&json!("c"), &json!(gateway.pid())));
    let own = gateway.client.structured("hangar_server_info", json!({}))["processes"].take();
    assert!(own.as_array().unwrap().iter().any(|p| p["role"] == "keeper" && p["provider"] == "c"), "{own}");

    gateway.signal(Signal::STOP);
    signal(keeper["pid"].as_u64().unwrap().try_into().unwrap(), Signal::KILL);
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    let (code, told) = report(&home, &["--processes"]);
    assert_eq!((code, &of_ours(&told)["state"]), (1, &json!("left_over")), "{told}");
    let (code, told) = report(&home, &["--processes", "--end", "--yes"]);
    assert_eq!((code, &told["ended"][0]["outcome"]), (0, &json!("removed")), "{told}");
    assert!(engine.containers(&home).is_empty());
}
