//! What goes through is what was said: every line in both directions, large ones, broken ones, the last ones.

use std::{
    io::{Read, Write},
    process::Stdio,
    time::Duration,
};

use crate::{
    gateway::{Gateway, SOON, Value, json, ms},
    rig::Place,
};

/// Runs a script through a command: all of it written at once, then the end; what it says.
fn script(place: &Place, words: &[&str], lines: &str) -> String {
    let mut child =
        place.command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (lines, mut said) = (lines.to_owned(), String::new());
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    writer.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    said
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":"é\u0031","method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"s","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
"#;

#[test]
fn a_script_gets_the_same_answers_as_from_a_gateway_of_its_own() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    // Known from here on, so that both say the same of it.
    script(&place, &["serve"], &format!("{HELLO}{}\n", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#));
    for lines in [
        // Without initialize; noise; a broken message; the last line without its newline.
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server/discover\"}\n".to_owned(),
        format!(
            "{HELLO}{}\n",
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a__sleep","arguments":{"ms":300}}}"#
        ),
        format!(
            "{HELLO}{}\n",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/nothing"}]"#
        ),
        format!("{HELLO}{}", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
        format!("{HELLO}hello\n"),
        format!("{HELLO}{}\n", r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#),
        format!(
            "{HELLO}{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":\"{}\"}}}}\n",
            "y".repeat(17_000_000)
        ),
        String::new(),
    ] {
        let sorted = |text: String| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let shown: String = lines.chars().take(300).collect();
        assert_eq!(sorted(script(&place, &["connect"], &lines)), sorted(script(&place, &["serve"], &lines)), "{shown}");
    }
}

#[test]
fn the_longest_line_is_the_one_that_the_gateway_takes() {
    let place = Place::new(|home| home.provider("a", &[], ""), "server: {limits: {line_bytes: 2000}}\n");
    let of = |bytes: usize| {
        let start = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#;
        format!("{start}{}\"}}}}", "y".repeat(bytes - start.len() - 3))
    };
    for (bytes, taken) in [(1999, true), (2000, true), (2001, false)] {
        assert_eq!(of(bytes).len(), bytes);
        let said = script(&place, &["connect"], &format!("{HELLO}{}\n", of(bytes)));
        assert_eq!(said.contains(r#""id":1,"result":{}"#), taken, "{said}");
        assert_ne!(said.contains("more than 2000 bytes was dropped (server.limits.line_bytes)"), taken, "{said}");
        assert!(!said.contains("gateway_lost"), "{said}");
    }
    // A home of its own: the daemon of this one may still be on its way out.
    let place = Place::new(|home| home.provider("a", &[], ""), "server: {limits: {line_bytes: 20000000}}\n");
    let said = script(&place, &["connect"], &format!("{HELLO}{}\n", of(19_000_000)));
    assert!(said.contains(r#""id":1,"result":{}"#), "{said}");
}

#[test]
fn large_messages_pass_in_both_directions() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let connect = place.connect();
    let text = "ö".repeat(4_000_000);
    let echoed = connect.client.text("a__echo", json!({"text": text}));
    assert!(echoed.len() > 8_000_000 && echoed.contains(&text));
    assert_eq!(connect.client.text("a__big", json!({"bytes": 15_000_000})).len(), 15_000_000);
    // And memory is given back.
    let kilobytes = |connect: &crate::rig::Connect| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", connect.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    connect.client.text("a__echo", json!({}));
    assert!(kilobytes(&connect) < 40_000, "{} kB", kilobytes(&connect));
    connect.leave();
}

#[test]
fn a_client_that_does_not_read_holds_back_itself_alone() {
    let place = Place::new(|home| home.provider("a", &[], "max_concurrency: 0"), "");
    // Its stdout is a pipe that nobody empties; what it asks for is far more than all buffers hold.
    let mut deaf = place.command(&["connect"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = deaf.stdin.take().unwrap();
    stdin.write_all(HELLO.as_bytes()).unwrap();
    for id in 0..40 {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "a__big", "arguments": {"bytes": 300_000}}});
        stdin.write_all(format!("{call}\n").as_bytes()).unwrap();
    }
    let other = place.connect();
    for _ in 0..20 {
        assert!(other.client.start_tool("a__echo", json!({})).within(Duration::from_secs(5)).is_some());
    }
    // Read at last, everything is there.
    drop(stdin);
    let mut said = String::new();
    deaf.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let answers =
        said.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok_and(|m| m["result"].is_object()));
    assert_eq!(answers.count(), 41);
    assert_eq!(deaf.wait().unwrap().code(), Some(0));
    other.leave();
}

#[test]
fn a_client_that_is_gone_takes_its_call_with_it() {
    let place = Place::new(|home| home.provider("a", &[], ""), "daemon: {idle_exit_s: 600}\n");
    let (staying, mut leaving) = (place.connect(), place.connect());
    let _call = leaving.client.start_tool("a__sleep", json!({"ms": 30_000}));
    crate::gateway::eventually("the call is there", SOON, || {
        (staying
            .client
            .structured("hangar_details", json!({"provider": "a"}))
            .to_string()
            .contains("\"calls_in_flight\":1"))
        .then_some(())
    });
    leaving.child.kill().unwrap();
    crate::gateway::eventually("the provider was told", SOON, || {
        (staying.client.text("a__cancelled", json!({})) != "[]").then_some(())
    });
    staying.leave();
}

#[test]
fn a_signal_ends_it_and_the_gateway_stays() {
    let place = Place::new(|_| String::new(), "daemon: {idle_exit_s: 600}\n");
    for wanted in [crate::gateway::Signal::TERM, crate::gateway::Signal::INT] {
        let mut connect = place.connect();
        crate::gateway::signal(connect.child.id(), wanted);
        connect.wait_exit();
    }
    crate::gateway::holds_for("the daemon stays", ms(300), || place.daemons().len() == 1);
}

/// A stdio gateway stands beside it and owns no connect socket.
#[test]
fn a_stdio_gateway_of_the_same_file_is_none_of_its_business() {
    let place = Place::new(|home| home.provider("a", &[], ""), "");
    let alone = Gateway::again(&place.home);
    assert!(!place.file(".sock").exists());
    let connect = place.connect();
    assert_ne!(alone.client.pid_of("a"), connect.client.pid_of("a"));
    connect.leave();
}
