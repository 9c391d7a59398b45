//! One gateway for all clients of a config file, and each client itself.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use crate::{
    gateway::{Gateway, SOON, Signal, eventually, holds_for, json, ms, signal},
    rig::{Connect, Place},
};

#[test]
fn two_clients_share_the_processes_and_keep_their_names() {
    let place = Place::new(|home| home.provider("a", &["--tools", "one"], ""), "");
    let (first, second) = (place.spawn(), place.spawn());
    first.greet("first", json!({"elicitation": {}}));
    second.greet("second", json!({"elicitation": {}}));
    assert_eq!(first.client.pid_of("a"), second.client.pid_of("a"));
    assert_eq!(place.home.start_count("a"), 1);

    let status = place.status();
    assert_eq!(status["transport"], "daemon", "{status}");
    assert_eq!(status["pid"], place.daemon());
    let clients = status["clients"].as_array().unwrap();
    let mut named: Vec<_> = clients.iter().map(|client| (client["name"].as_str().unwrap(), &client["pid"])).collect();
    named.sort_by_key(|(name, _)| *name);
    assert_eq!(named, [("first", &json!(first.child.id())), ("second", &json!(second.child.id()))]);
    for client in clients {
        assert_eq!((&client["version"], &client["hangar_version"]), (&json!("7"), &json!(crate::rig::OWN_VERSION)));
        assert!(client["since"].as_str().unwrap().starts_with("20"), "{client}");
    }
    let table = place.command(&["status"]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    for says in ["daemon", "first 7, pid", "second 7, pid", place.file(".sock").to_str().unwrap()] {
        assert!(table.contains(says), "{says}: {table}");
    }
    let mode = fs::metadata(place.file(".sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // A question of the provider goes to the one whose call it is about.
    let call = first.client.start_tool("a__elicit", json!({}));
    let asked = first.client.wait_messages("elicitation/create", 1).remove(0);
    let answer =
        json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"name": "Ada"}}});
    first.client.raw(&answer.to_string());
    assert!(call.wait().to_string().contains("Ada"));
    assert!(second.client.messages("elicitation/create").is_empty());

    // News go to both.
    first.client.tools();
    second.client.tools();
    first.client.tool("a__add_tool", json!({"name": "later"}));
    for connect in [&first, &second] {
        connect.client.wait_messages("notifications/tools/list_changed", 1);
        assert!(connect.client.tools().contains(&"a__later".to_owned()));
    }
    first.leave();
    second.leave();
    place.assert_all_gone(SOON);
    assert!(!place.file(".sock").exists());
}

#[test]
fn each_client_has_its_own_instance_of_what_is_not_shared_and_takes_it_along() {
    let place = Place::new(|home| home.provider("a", &[], "sharing: session"), "");
    let (mut first, second) = (place.connect(), place.connect());
    let (gone, stays) = (first.client.pid_of("a"), second.client.pid_of("a"));
    assert_ne!(gone, stays);
    assert_eq!(first.client.text("a__count", json!({})), "1");
    assert_eq!(second.client.text("a__count", json!({})), "1");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    eventually("its process is gone", SOON, || crate::gateway::Being::of(gone).is_none().then_some(()));
    assert_eq!(second.client.pid_of("a"), stays);
    second.leave();
    place.assert_all_gone(SOON);
}

#[test]
fn ten_racing_clients_of_ten_providers_are_one_daemon_and_ten_processes() {
    let names: Vec<String> = (0..10).map(|n| format!("p{n}")).collect();
    let place = Place::new(|home| names.iter().map(|name| home.provider(name, &[], "")).collect(), "");
    let clients: Vec<Connect> = thread::scope(|scope| {
        let racing: Vec<_> = (0..10).map(|_| scope.spawn(|| place.connect())).collect();
        racing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let pids: BTreeSet<u32> = thread::scope(|scope| {
        let all = |connect: &Connect| names.iter().map(|name| connect.client.pid_of(name)).collect::<BTreeSet<_>>();
        let asked: Vec<_> = clients.iter().map(|connect| scope.spawn(move || all(connect))).collect();
        asked.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(pids.len(), 10);
    let daemon = place.daemon();
    assert_eq!(place.log().matches("gateway_started").count(), 1, "{}", place.log());
    assert_eq!(place.status()["clients"].as_array().unwrap().len(), 10);
    // Not one of the first client's processes: who ends those does not end everybody's gateway.
    let parent = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        text.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    assert!(clients.iter().all(|connect| connect.child.id() != parent(daemon)));
    drop(clients);
    place.assert_all_gone(SOON);
    names.iter().for_each(|name| assert_eq!(place.home.start_count(name), 1, "{name}"));
}

#[test]
fn a_daemon_stays_as_long_as_configured_and_a_reload_can_change_that() {
    let place = Place::new(|home| home.provider("a", &[], ""), "daemon: {idle_exit_s: 600}\n");
    let first = place.connect();
    let (daemon, process) = (place.daemon(), first.client.pid_of("a"));
    first.leave();
    holds_for("the daemon stays", ms(600), || place.daemons() == [daemon]);
    let second = place.connect();
    assert_eq!((place.daemon(), second.client.pid_of("a")), (daemon, process), "found, not started");
    second.leave();
    place.put(&place.home.provider("a", &[], ""), "daemon: {idle_exit_s: 0.3}\n");
    assert!(place.command(&["reload"]).output().unwrap().status.success());
    place.assert_all_gone(SOON);
    place.home.assert_starts_equal_stops("a");
}

#[test]
fn a_client_that_comes_as_the_daemon_leaves_is_served() {
    let place = Place::new(|_| String::new(), "");
    for round in 0..40 {
        let connect = place.connect();
        connect.client.tools();
        drop(connect);
        // Around the moment at which it is noticed.
        thread::sleep(Duration::from_micros(round * 150));
    }
    place.assert_all_gone(SOON);
}

#[test]
fn it_joins_a_running_http_gateway_which_does_not_leave_with_it() {
    let place = Place::new(|_| String::new(), "");
    let home = place.home.clone();
    let (gateway, _) = Gateway::over_http(&home, &home.provider("a", &[], ""));
    let connect = place.connect();
    assert!(place.daemons().is_empty());
    connect.client.pid_of("a");
    let status = place.status();
    assert_eq!((&status["pid"], &status["transport"]), (&json!(gateway.pid()), &json!("http")));
    assert_eq!(status["clients"].as_array().unwrap().len(), 1);

    // A second one of the same file leaves it alone.
    let pid_file = place.home.path("run/second.pid");
    let words = ["serve", "--http", "--port", "0", "--pid-file", pid_file.to_str().unwrap()];
    let second = Connect::spawn(&mut place.command(&words));
    second.wait_err("no_connect_socket");
    assert!(second.err().contains(&format!("pid {}", gateway.pid())), "{}", second.err());
    second.wait_err("gateway_started");
    let third = place.connect();
    assert_eq!(third.client.pid_of("a"), connect.client.pid_of("a"));
    third.leave();
    connect.leave();
    eventually("the gateway has noticed", SOON, || {
        place.statuses().iter().all(|status| status["clients"] == json!([])).then_some(())
    });
    let mut second = second;
    signal(second.child.id(), Signal::TERM);
    second.wait_exit();
    gateway.stop();
    assert!(!place.file(".sock").exists());
}

#[test]
fn a_daemon_started_by_hand_serves_and_a_second_one_is_refused() {
    let place = Place::new(|_| String::new(), "daemon: {idle_exit_s: 600}\n");
    let mut child = place.command(&["serve", "--daemon"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("it serves", SOON, || place.file(".sock").exists().then_some(()));
    let connect = place.connect();
    assert_eq!(place.daemon(), child.id());
    let second = place.command(&["serve", "--daemon"]).output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(5), "{told}");
    assert!(told.contains(&format!("pid {}", child.id())), "{told}");
    connect.leave();
    assert!(place.command(&["stop"]).output().unwrap().status.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!place.file(".sock").exists() && !place.file(".lock").exists());
}

#[test]
fn the_daemon_keeps_nothing_of_its_first_clients() {
    let place = Place::new(|_| String::new(), "daemon: {idle_exit_s: 600}\n");
    // A shell that leaves a pipe open for whatever it starts, in a session and a directory of its own.
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let connect = place.connect();
    drop(writer);
    let daemon = place.daemon();
    connect.leave();
    let end = thread::spawn(move || std::io::read_to_string(reader).unwrap());
    eventually("the pipe has ended", SOON, || end.is_finished().then_some(()));
    let link = |name: &str| fs::read_link(format!("/proc/{daemon}/{name}")).unwrap();
    assert_eq!(link("cwd"), fs::canonicalize(place.home.path("conf")).unwrap());
    assert_eq!((link("fd/0"), link("fd/1")), ("/dev/null".into(), "/dev/null".into()));
    assert!(link("fd/2").to_string_lossy().contains("daemon-"), "{:?}", link("fd/2"));
    let session = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        text.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(3).unwrap().to_owned()
    };
    assert_ne!(session(daemon), session(std::process::id()));
}

#[test]
fn clients_that_are_killed_while_they_start_the_daemon_are_in_nobodys_way() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    for round in 0..25 {
        let mut killed: Vec<_> = (0..2).map(|_| place.spawn()).collect();
        thread::sleep(Duration::from_millis(round));
        for connect in &mut killed {
            connect.child.kill().unwrap();
        }
        let connect = place.connect();
        assert!(connect.client.pid_of("a") > 0);
        // One that was ended by its idle time may still be on its way out.
        eventually("there is one daemon", SOON, || (place.daemons().len() == 1).then_some(()));
        connect.leave();
    }
    eventually("the last one is gone", SOON, || place.daemons().is_empty().then_some(()));
    // What a killed client left of its start goes with the next one.
    place.connect().leave();
    place.assert_all_gone(SOON);
}

#[test]
fn the_daemon_reads_the_env_file_that_its_first_client_was_told() {
    let place = Place::new(|home| home.provider("a", &[], "env: {GREETING: '${GREETING}'}"), "");
    let dir = place.home.path("client");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("my.env"), "GREETING=hello\n").unwrap();
    let mut without = place.spawn();
    assert_eq!(without.wait_exit().code(), Some(3), "{}", without.err());
    // By the option, relative to the client's own directory; or by the variable.
    let mut typed = place.command(&["connect", "--dotenv-path", "my.env"]);
    let mut told = place.command(&["connect"]);
    for command in [typed.current_dir(&dir), told.current_dir(&dir).env("HANGAR_DOTENV_PATH", "my.env")] {
        let connect = Connect::spawn(command);
        connect.greet("test", json!({}));
        assert_eq!(connect.client.text("a__env", json!({"name": "GREETING"})), "\"hello\"");
        connect.leave();
        place.assert_all_gone(SOON);
    }
}

#[test]
fn a_joining_client_costs_little_time() {
    let place = Place::new(|_| String::new(), "daemon: {idle_exit_s: 600}\n");
    place.connect().leave();
    let began = Instant::now();
    (0..10).for_each(|_| place.connect().leave());
    // An unoptimised build on a busy machine; the figures are in docs/benchmarks.md.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?} for ten", began.elapsed());
}

#[test]
fn clients_beyond_the_limit_wait_for_a_place() {
    let place = Place::new(|home| home.provider("a", &[], ""), "server: {limits: {connect_clients: 2}}\n");
    let first = place.connect();
    let second = place.connect();
    let third = place.spawn();
    let info = json!({"name": "third", "version": "7"});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
    let greeting = third.client.send("initialize", hello);
    assert!(greeting.within(ms(700)).is_none(), "there is no place for it");
    first.client.pid_of("a");
    first.leave();
    assert!(greeting.wait()["result"].is_object(), "{}", third.err());
    second.client.pid_of("a");
    second.leave();
    third.leave();
    place.assert_all_gone(SOON);
}
