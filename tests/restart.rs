//! Restart in place, PID files, and who may signal: CONTRACT sections 5 and 8, through the shipped binary.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use gateway::{Gateway, Home, HttpSession, SOON, Signal, UNWATCHED, Value, config, eventually, holds_for, json, ms};

fn pid_file(path: &Path) -> Value {
    fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// PID files and records below the runtime directory of the home.
fn files(home: &Home, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.path("run/hangar")).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

fn lives(gateway: &Gateway) -> usize {
    gateway.log().matches("gateway_started").count()
}

fn restarted(gateway: &Gateway, lives_before: usize) {
    eventually("the next life has started", SOON, || (lives(gateway) > lives_before).then_some(()));
}

#[test]
fn a_stdio_client_goes_on_over_a_restart_and_learns_that_lists_may_have_changed() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let before = gateway.client.pid_of("a");
    let running = gateway.client.start_tool("a__sleep", json!({"ms": 600}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("gateway_restarting");
    // Said while the old life drains: the next one answers, and nothing is lost.
    let late = gateway.client.start_tool("a__pid", json!({}));
    assert!(running.wait()["error"].is_null());
    let after = late.wait();
    assert!(after["error"].is_null(), "{after}");
    restarted(&gateway, 1);
    let after = gateway.client.pid_of("a");
    assert_ne!(before, after);
    gateway.client.wait_line("the lists", |line| line.contains("notifications/tools/list_changed"));
    assert_eq!(home.assert_never_two("a"), 2);
    gateway.stop();
}

/// Its call is longer than a restart waits: it gets an error, and the session goes on.
#[test]
fn a_call_that_a_restart_does_not_wait_for_has_its_one_answer_and_the_stdio_session_goes_on() {
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], "drain_timeout_s: 1"));
    let running = gateway.client.start_tool("a__sleep", json!({"ms": 60_000}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("gateway_restarting");
    eventually("the next life has started", 2 * SOON, || (lives(&gateway) > 1).then_some(()));
    let after = gateway.client.start_tool("a__pid", json!({})).wait();
    assert!(after["error"].is_null(), "{after}");
    let answer = running.wait();
    assert!(!answer["error"].is_null(), "{answer}");
    gateway.stop();
}

#[test]
fn an_http_session_goes_on_over_a_restart_with_the_same_pid_and_another_generation() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let mut session = HttpSession::open(address);
    session.call("a__pid", json!({}));
    let [path] = &files(&home, ".pid")[..] else { panic!("one PID file") };
    let first = pid_file(path);
    assert_eq!((&first["pid"], &first["transport"]), (&json!(gateway.pid()), &json!("http")));
    for key in ["start_time", "version", "host", "port", "socket", "config", "argv", "executable", "generation_id"] {
        assert!(!first[key].is_null(), "{key}: {first}");
    }
    gateway.signal(Signal::USR2);
    restarted(&gateway, 1);
    session.reconnect();
    let answer = session.call("a__pid", json!({}));
    assert!(answer["error"].is_null(), "the same session: {answer}");
    let second = eventually("the facts of the next life", SOON, || {
        Some(pid_file(path))
            .filter(|now| now["generation_id"].is_string() && now["generation_id"] != first["generation_id"])
    });
    assert_eq!((&second["pid"], &second["start_ticks"]), (&first["pid"], &first["start_ticks"]));
    assert_eq!(second["port"], first["port"]);
    gateway.stop();
    assert!(files(&home, "").is_empty(), "{:?}", files(&home, ""));
}

#[test]
fn a_restart_takes_the_configuration_and_the_port_that_are_on_the_disk_now() {
    let home = Home::new();
    home.put(&config("", UNWATCHED));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = |port: u16| format!("{UNWATCHED}server: {{port: {port}}}\n");
    home.put(&config("", &settings(free)));
    let gateway = Gateway::spawn_options(&home, &["--http"]);
    gateway.wait_for_log("gateway_started");
    home.put(&config(&home.provider("a", &[], ""), &settings(other)));
    gateway.signal(Signal::USR2);
    restarted(&gateway, 1);
    let mut session = HttpSession::open(([127, 0, 0, 1], other).into());
    session.call("a__pid", json!({}));
    assert!(TcpStream::connect(("127.0.0.1", free)).is_err(), "nobody listens at the old port any more");
    gateway.stop();
}

#[test]
fn with_a_broken_configuration_a_restart_is_refused_and_the_gateway_serves_on() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let mut session = HttpSession::open(address);
    let before = session.call("a__pid", json!({}))["result"].take();
    home.put("providers:\n  a: {comand: [x]}\n");
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("restart_refused");
    assert!(gateway.log().contains("comand"), "{}", gateway.log());
    assert_eq!(session.call("a__pid", json!({}))["result"], before, "the same provider");
    let status = hangar(&home, &["status", "--json"]).1;
    assert_eq!(status["last_restart"]["status"], "refused", "{status}");
    assert_eq!(lives(&gateway), 1);
    gateway.stop();
}

#[test]
fn a_port_that_is_taken_refuses_the_restart_before_anything_is_stopped() {
    let home = Home::new();
    let (gateway, _) = Gateway::over_http(&home, "");
    drop(gateway);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    home.put(&config("", &format!("{UNWATCHED}server: {{port: 0}}\n")));
    let gateway = Gateway::spawn_options(&home, &["--http"]);
    gateway.wait_for_log("gateway_started");
    let port = taken.local_addr().unwrap().port();
    home.put(&config("", &format!("{UNWATCHED}server: {{port: {port}}}\n")));
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("restart_refused");
    assert!(gateway.log().contains(&format!("127.0.0.1:{port}")), "{}", gateway.log());
    assert_eq!(lives(&gateway), 1);
    gateway.stop();
}

#[test]
fn signals_in_a_burst_kill_nobody_and_every_sighup_is_answered_after_the_restart() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let done = Arc::new(AtomicBool::new(false));
    let (stop, pid) = (done.clone(), gateway.pid());
    // All through the exec, in which a signal that nobody catches is deadly.
    let storm = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for signal in [Signal::HUP, Signal::USR1] {
                gateway::signal(pid, signal);
            }
            thread::sleep(Duration::from_micros(200));
        }
    });
    for life in 1..=5 {
        gateway.signal(Signal::USR2);
        gateway.signal(Signal::USR2);
        restarted(&gateway, life);
    }
    done.store(true, Ordering::Relaxed);
    storm.join().unwrap();
    HttpSession::open(address).call("a__pid", json!({}));
    gateway.stop();
}

#[test]
fn a_stop_signal_during_a_restart_makes_it_a_stop() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let call = gateway.client.start_tool("a__sleep", json!({"ms": 8000}));
    eventually("it runs", SOON, || (gateway.provider("a")["calls_in_flight"] == 1).then_some(()));
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("gateway_restarting");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
    drop(call);
    home.assert_nothing_left(ms(3000));
    assert!(files(&home, "").is_empty(), "{:?}", files(&home, ""));
}

/// The short version of `make hygiene`'s hundred.
#[test]
fn storm_restarts_refuse_no_connection() {
    let rounds: usize = std::env::var("HANGAR_RESTARTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let (done, answered, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::default());
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (done, answered, failed) = (done.clone(), answered.clone(), Arc::clone(&failed));
            thread::spawn(move || {
                let failed: Arc<std::sync::Mutex<Vec<String>>> = failed;
                while !done.load(Ordering::Relaxed) {
                    match health(address) {
                        Ok(()) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => failed.lock().unwrap().push(error),
                    }
                }
            })
        })
        .collect();
    let pid = gateway.pid();
    for life in 1..=rounds {
        HttpSession::open(address).call("a__pid", json!({}));
        gateway.signal(Signal::USR2);
        restarted(&gateway, life);
    }
    done.store(true, Ordering::Relaxed);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    let failed: &std::sync::Mutex<Vec<String>> = &failed;
    assert_eq!(*failed.lock().unwrap(), Vec::<String>::new());
    let answered = answered.load(Ordering::Relaxed);
    eprintln!("{rounds} restarts, {answered} connections, 0 refused");
    assert!(answered > rounds as u64);
    assert_eq!(gateway.pid(), pid);
    assert_eq!(home.assert_never_two("a"), rounds);
    gateway.stop();
}

/// One connection, one request.
fn health(address: std::net::SocketAddr) -> Result<(), String> {
    let told = |step: &'static str| move |error: std::io::Error| format!("{step}: {error}");
    let mut stream = TcpStream::connect(address).map_err(told("connect"))?;
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .map_err(told("write"))?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(told("read"))?;
    if text.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("answer: {text:?}")) }
}

#[test]
fn a_second_gateway_on_a_held_pid_file_exits_5_naming_the_first() {
    let home = Home::new();
    let (first, _) = Gateway::over_http(&home, "");
    let mut second = Gateway::spawn_options(&home, &["--http", "--port", "0"]);
    assert_eq!(second.wait_exit(SOON).code(), Some(5));
    second.wait_for_log(&format!("pid {}", first.pid()));
    for (path, mode) in [("state/hangar", 0o700), ("state/hangar/sweep.lock", 0o600), ("run/hangar", 0o700)] {
        let about = eventually(path, SOON, || fs::metadata(home.path(path)).ok());
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777, mode, "{path}");
    }
    // A place of its own is another matter, and so is stdio.
    let own = home.path("own.pid");
    let third = Gateway::spawn_options(&home, &["--http", "--port", "0", "--pid-file", own.to_str().unwrap()]);
    third.wait_for_log("gateway_started");
    eventually("it is written", SOON, || (pid_file(&own)["pid"] == third.pid()).then_some(()));
    let stdio = Gateway::again(&home);
    assert_eq!(files(&home, ".pid").len(), 1, "a stdio gateway writes one only when told to");
    stdio.stop();
    third.stop();
    assert!(!own.exists());
    first.stop();
}

#[test]
fn a_pid_file_that_a_killed_gateway_left_is_replaced() {
    let home = Home::new();
    let (first, _) = Gateway::over_http(&home, "");
    let [path] = &files(&home, ".pid")[..] else { panic!("one PID file") };
    let old = first.pid();
    first.signal(Signal::KILL);
    drop(first);
    assert_eq!(pid_file(path)["pid"], old);
    let (second, _) = Gateway::over_http(&home, "");
    eventually("it is the second's", SOON, || (pid_file(path)["pid"] == second.pid()).then_some(()));
    assert_eq!(files(&home, ".json").len(), 1, "the record of the first is swept");
    second.stop();
}

#[test]
fn a_gateway_that_does_not_start_leaves_no_pid_file() {
    let home = Home::new();
    home.put("providers: [\n");
    let own = home.path("own.pid");
    let mut gateway = Gateway::spawn_options(&home, &["--http", "--port", "0", "--pid-file", own.to_str().unwrap()]);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(3));
    assert!(!own.exists());
    assert!(files(&home, "").is_empty(), "{:?}", files(&home, ""));
}

/// The system lets a foreign user's process signal us only when it has the capability to; `setpriv` gives it one.
#[test]
fn a_foreign_users_reload_and_restart_are_refused_and_the_log_says_who() {
    if !rustix::process::geteuid().is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("!!! skipped: this test needs root and setpriv");
        return;
    }
    let home = Home::new();
    let gateway = Gateway::start(&home, &home.provider("a", &[], ""));
    let foreign = |name: &str| {
        let status = Command::new("setpriv")
            .args(["--reuid", "65534", "--clear-groups", "--inh-caps", "+kill", "--ambient-caps", "+kill", "kill"])
            .args([name, &gateway.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    };
    for name in ["-HUP", "-USR2"] {
        foreign(name);
    }
    eventually("both are refused", SOON, || (gateway.log().matches("signal_refused").count() == 2).then_some(()));
    assert!(gateway.log().contains("sender_uid=65534"), "{}", gateway.log());
    holds_for("nothing follows", ms(500), || {
        lives(&gateway) == 1 && !gateway.log().contains("requested_by=\"sighup\"")
    });
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("requested_by=\"sighup\"");
    assert!(gateway.log().contains(&format!("sender_pid={}", std::process::id())), "{}", gateway.log());
    gateway.stop();
}

fn hangar(home: &Home, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_hangar"))
        .args(arguments)
        .env_clear()
        .env("HOME", home.path(""))
        .env("XDG_RUNTIME_DIR", home.path("run"))
        .args(["--config"])
        .arg(home.config())
        .output()
        .unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// By the shims, when they have ended what the gateway had started.
#[test]
fn what_a_killed_gateway_keeps_in_the_runtime_directory_is_cleared_by_those_who_outlive_it() {
    let home = Home::new();
    let (gateway, address) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let neighbour = Gateway::again(&home);
    HttpSession::open(address).call("a__pid", json!({}));
    assert!(files(&home, "").len() >= 5, "{:?}", files(&home, ""));
    gateway.signal(Signal::KILL);
    let mine = format!("-{}.", neighbour.pid());
    eventually("only the neighbour's files are left", SOON, || {
        files(&home, "").iter().all(|path| path.to_string_lossy().contains(&mine)).then_some(())
    });
    assert_eq!(files(&home, "").len(), 2, "its socket and its record");
    neighbour.stop();
}
