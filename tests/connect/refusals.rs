//! What is refused, and how that is told.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    process::{Command, Stdio},
    thread,
};

use crate::{
    gateway::{SOON, Value, eventually, json},
    rig::{Connect, Fake, OWN_VERSION, Place},
};

#[test]
fn every_racing_client_of_an_invalid_file_says_what_is_wrong_and_exits_3() {
    let place = Place::new(|_| String::new(), "");
    place.home.put("providers: {a: {comand: [x]}, b: {command: [no-such-program-here]}}\n");
    let racing: Vec<_> = (0..6).map(|_| place.spawn()).collect();
    for mut connect in racing {
        assert_eq!(connect.wait_exit().code(), Some(3), "{}", connect.err());
        for says in ["config.yaml:1:", "HGR0102", "HGR0303", "comand", "no-such-program-here"] {
            connect.wait_err(says);
        }
    }
    assert!(place.daemons().is_empty());
    let mut missing = Connect::spawn(place.command(&["connect", "--config", "/no/such/file.yaml"]).env_remove("X"));
    // Two files named: usage.
    assert_eq!(missing.wait_exit().code(), Some(2), "{}", missing.err());
    fs::remove_file(place.home.config()).unwrap();
    let mut gone = place.spawn();
    assert_eq!(gone.wait_exit().code(), Some(3), "{}", gone.err());
    assert!(gone.err().contains("no such file"), "{}", gone.err());
}

#[test]
fn another_version_is_told_and_works_another_protocol_is_refused() {
    let place = Place::new(|_| String::new(), "");
    let fake = Fake::new(&place);
    let connect = place.spawn();
    let mut link = fake.accept(&Fake::hello("9.9.9", 1));
    let ping = connect.client.send("ping", json!({}));
    let asked = link.line();
    link.answer(&asked, json!({}));
    assert_eq!(ping.wait()["result"], json!({}));
    for says in ["warning", "9.9.9", OWN_VERSION, "4242"] {
        connect.wait_err(says);
    }
    connect.client.close();
    assert_eq!(link.line(), Value::Null);
    drop(link);

    let mut connect = place.spawn();
    let _link = fake.accept(&Fake::hello("9.9.9", 2));
    assert_eq!(connect.wait_exit().code(), Some(5));
    for says in ["9.9.9", OWN_VERSION, "protocol 1", "protocol 2", "help", "4242"] {
        connect.wait_err(says);
    }
}

#[test]
fn what_is_no_gateway_or_says_nothing_is_not_talked_to() {
    let place = Place::new(|_| String::new(), "");
    let fake = Fake::new(&place);
    let mut connect = place.spawn();
    let _link = fake.accept("HTTP/1.1 400 Bad Request");
    assert_eq!(connect.wait_exit().code(), Some(5));
    connect.wait_err("no hangar gateway");
    let mut connect = Connect::spawn(&mut place.command(&["connect", "--timeout", "0.5"]));
    let _link = fake.accept_silent();
    assert_eq!(connect.wait_exit().code(), Some(4));
    connect.wait_err("said nothing");
    // One that leaves without a hello was about to end anyway; what listens no more is replaced.
    let connect = place.spawn();
    drop(fake.accept_silent());
    drop(fake);
    connect.greet("test", json!({}));
    assert_eq!(place.daemons().len(), 1);
    connect.leave();
}

#[test]
fn the_daemon_tells_and_counts_clients_of_other_versions() {
    let place = Place::new(|_| String::new(), "daemon: {idle_exit_s: 600}\n");
    let own = place.connect();
    let say = |lines: &str| {
        let mut stream = UnixStream::connect(place.file(".sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
        let mut answer = String::new();
        let mut reader = BufReader::new(stream);
        // What was not read when it closed makes a reset of the end.
        let _ = reader.read_line(&mut answer);
        (serde_json::from_str::<Value>(&answer).unwrap_or_default(), reader)
    };
    let hello = |version: &str, protocol: u32| {
        json!({"hangar": "connect", "protocol": protocol, "version": version, "pid": 1}).to_string() + "\n"
    };
    let (answer, mut other) = say(&hello("0.0.9", 1));
    assert_eq!((&answer["hangar"], &answer["protocol"]), (&json!("daemon"), &json!(1)), "{answer}");
    assert_eq!((&answer["version"], &answer["pid"]), (&json!(OWN_VERSION), &json!(place.daemon())));
    other.get_mut().write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").unwrap();
    let mut line = String::new();
    other.read_line(&mut line).unwrap();
    assert!(line.contains("\"result\":{}"), "{line}");
    let clients = place.status()["clients"].clone();
    // The pid is the system's word, not the client's.
    assert_eq!((&clients[1]["hangar_version"], &clients[1]["pid"]), (&json!("0.0.9"), &json!(std::process::id())));
    assert_eq!(clients[1]["name"], Value::Null);

    let (answer, mut refused) = say(&hello("9.0.0", 2));
    assert_eq!(answer["protocol"], 1);
    line.clear();
    assert_eq!(refused.read_line(&mut line).unwrap(), 0, "closed: {line}");
    for bad in
        ["GET / HTTP/1.1\r\n\r\n", "[]\n", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n", &"x".repeat(5000)]
    {
        assert_eq!(say(bad).0, Value::Null, "{bad}");
    }
    let metrics = own.client.structured("hangar_metrics", json!({"filter": "connect"})).to_string();
    assert!(metrics.contains("hangar_connect_version_mismatches_total 2"), "{metrics}");
    assert!(metrics.contains("hangar_connect_clients 2"), "{metrics}");
    // Written by a thread of its own.
    eventually("the log tells of both", SOON, || {
        let log = place.log();
        (log.contains("connect_version_mismatch") && log.contains("0.0.9") && log.contains("9.0.0")).then_some(())
    });
    own.leave();
}

#[test]
fn a_directory_that_everybody_may_write_to_is_not_looked_at() {
    let place = Place::new(|_| String::new(), "");
    let trap = UnixListener::bind(place.file(".sock")).unwrap();
    trap.set_nonblocking(true).unwrap();
    fs::set_permissions(place.home.path("run/hangar"), fs::Permissions::from_mode(0o777)).unwrap();
    // So that nothing is started in its stead.
    place.home.put("providers: []\n");
    let mut connect = place.spawn();
    let code = connect.wait_exit().code();
    assert!(matches!(code, Some(3 | 5)), "{code:?} {}", connect.err());
    assert!(trap.accept().is_err(), "it was talked to");
    // Where this user may make it, that is the next place.
    let name = place.file(".start.lock");
    let _ = fs::remove_file(std::path::Path::new("/var/run/hangar").join(name.file_name().unwrap()));
}

#[test]
fn another_user_is_not_served_even_where_the_files_would_let_him() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can try as somebody else");
        return;
    }
    let place = Place::new(|_| String::new(), "daemon: {idle_exit_s: 600}\n");
    let own = place.connect();
    for (path, mode) in [("", 0o755), ("run", 0o755), ("run/hangar", 0o755)] {
        fs::set_permissions(place.home.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(place.file(".sock"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sS", "--unix-socket"]);
    let done = other.arg(place.file(".sock")).arg("http://d/").stdin(Stdio::null()).output().expect("setpriv and curl");
    // Closed without a word: before (7), while (56) or after (52) it has sent its own. The log says that it got there.
    assert!(matches!(done.status.code(), Some(7 | 52 | 56)), "{done:?}");
    eventually("the log says so", SOON, || place.log().contains("connect_client_refused").then_some(()));
    thread::sleep(crate::gateway::ms(50));
    assert_eq!(place.status()["clients"].as_array().unwrap().len(), 1);
    own.leave();
}
