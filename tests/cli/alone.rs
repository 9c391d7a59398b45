//! What needs no gateway: help, usage, `validate`, `schema`, and not finding one.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    process::Stdio,
};

use serde_json::json;

use super::rig::{Done, Place, TWO};

const COMMANDS: [&str; 16] = [
    "serve",
    "connect",
    "validate",
    "diff",
    "reload",
    "status",
    "restart",
    "stop",
    "list",
    "load",
    "unload",
    "tools",
    "call",
    "doctor",
    "schema",
    "demo-server",
];
const BAD: &str = "providers:\n  math:\n    comand: [x]\n  there: {mode: remote}\n";

fn listed_commands(help: &str) -> Vec<&str> {
    let section = help.split("Commands:\n").nth(1).expect("a list of commands").split("\n\n").next().expect("its end");
    let lines = section.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn the_help_lists_exactly_what_there_is() {
    let place = Place::new(TWO);
    let help = place.run(&["--help"]).exits(0).says(&["[alias: check]", "Exit codes:"]);
    assert_eq!(listed_commands(&help.out), COMMANDS);
    let bare = place.run(&[]).exits(2);
    assert_eq!((listed_commands(&bare.err), bare.out.as_str()), (COMMANDS.to_vec(), ""));
    for command in COMMANDS {
        place.run(&[command, "--help"]).exits(0).says(&["Usage: hangar"]);
    }
    let version = place.run(&["--version"]).exits(0);
    let first_line = format!("hangar {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.out, first_line);
    let long = place.run(&["--version", "--verbose"]).exits(0).says(&["commit: ", "built: 20"]);
    assert!(long.out.starts_with(&first_line), "{}", long.out);
    place.run(&["--verbose", "status"]).exits(2);
}

#[test]
fn the_readme_names_every_command_and_option_and_no_other() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md");
    let section = readme.split("## Commands").nth(1).expect("a section").split("\n## ").next().expect("its end");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let names = rows.iter().filter_map(|row| row.trim_start_matches("| `").split(['`', ' ']).next());
    assert_eq!(names.collect::<Vec<_>>(), COMMANDS);
    let place = Place::new(TWO);
    for (row, command) in rows.iter().zip(COMMANDS) {
        let help = place.run(&[command, "--help"]).exits(0).out;
        for option in row.split(|c: char| c.is_whitespace() || "`[]|,;.".contains(c)).filter(|w| w.starts_with("--")) {
            assert!(help.contains(option), "{command} has no {option}");
        }
    }
}

#[test]
fn usage_errors_exit_2_and_leave_stdout_alone() {
    let place = Place::new(TWO);
    for words in [
        &["launch"][..],
        &["help"],
        &["status", "--verbose"],
        &["serve", "--port", "80"],
        &["serve", "--http", "--port", "65536"],
        &["stop", "--pid-file", "x", "--socket", "y"],
        &["status", "--url", "http://127.0.0.1:1", "--socket", "x"],
        &["status", "--url", "https://127.0.0.1:1"],
        &["status", "--url", "127.0.0.1:8000"],
        &["demo-server", "maths"],
        &["call", "math"],
        &["call", "math", "add", "{}", "--timeout", "-1"],
    ] {
        let done = place.run(words).exits(2);
        assert!(done.out.is_empty() && !done.err.is_empty(), "{words:?}: {done:?}");
    }
}

#[test]
fn arguments_of_a_call_are_checked_before_anything_is_sent() {
    let place = Place::new(TWO);
    place.run(&["call", "math", "add", "{\"a\": 1,}"]).exits(2).complains(&["not JSON", "line 1 column 9"]);
    place.run(&["call", "math", "add", "[1, 2]"]).exits(2).complains(&["not a JSON object"]);
    let mut child = place
        .command(&["call", "math", "add", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("piped").write_all(b"{\n  \"a\" 1\n}").expect("it reads");
    let done = Done::from(child.wait_with_output().expect("it ends")).exits(2);
    done.complains(&["on stdin", "line 2 column 7"]);
}

#[test]
fn a_valid_file_is_named_with_what_was_checked() {
    let place = Place::new(TWO);
    let done = place.run(&["validate"]).exits(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("config.yaml is valid: 2 providers\n", ""));
    let verdict = place.run(&["check", "--config", "config.yaml", "--json"]).exits(0).json();
    assert_eq!(verdict, json!({"valid": true, "config": "config.yaml", "problems": [], "warnings": []}));
    std::fs::write(place.dir.path().join("a.env"), "A=1\n").expect("written");
    place.write("providers: {math: {command: [hangar, demo-server], env_file: [a.env], enabled: false}}\n");
    place.run(&["validate"]).exits(0).says(&["1 provider (1 switched off), 1 file it refers to", "1 warning", "HGR09"]);
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let place = Place::new(BAD);
    let done = place.run(&["validate"]).exits(3);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines[0].starts_with("config.yaml:3:5: providers.math.comand: unknown key [HGR0102]"), "{lines:?}");
    assert_eq!(lines[1], "  help: did you mean `command`?");
    assert_eq!(*lines.last().expect("a verdict"), "config.yaml is not valid: 2 problems");
    let verdict = place.run(&["validate", "--json"]).exits(3).json();
    assert_eq!(
        (&verdict["valid"], verdict["problems"].as_array().map(Vec::len)),
        (&json!(false), Some(2)),
        "{verdict}"
    );
    assert_eq!(
        verdict["problems"][0],
        json!({"path": "providers.math.comand", "file": "config.yaml", "line": 3, "column": 5,
            "message": "unknown key", "code": "HGR0102", "help": "did you mean `command`?"})
    );
}

#[test]
fn a_missing_file_is_a_problem_too() {
    let place = Place::new(TWO);
    place.run(&["validate", "--config", "gone.yaml"]).exits(3).says(&["gone.yaml", "--config", "HGR0001"]);
    std::fs::remove_file(place.config()).expect("removed");
    let verdict = place.run(&["validate", "--json"]).exits(3).json();
    let message = verdict["problems"][0]["message"].as_str().expect("a message");
    assert!(message.contains("config.yaml") && message.contains("$MCP_CONFIG"), "{message}");
    place.run(&["serve"]).exits(3).complains(&["no configuration found"]);
}

#[test]
fn the_schema_is_one_and_the_example_file_is_valid() {
    let place = Place::new(TWO);
    let schema = place.run(&["schema"]).exits(0).json();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.yaml");
    place.run(&["validate", "--config", example]).exits(0).says(&["is valid: 3 providers"]);
}

#[test]
fn without_a_gateway_the_exit_code_is_4_and_the_text_says_what_to_do() {
    let place = Place::new(TWO);
    for words in [&["status"][..], &["list"], &["tools"], &["call", "math", "add"], &["diff"], &["reload", "--json"]] {
        let done = place.run(words).exits(4).complains(&["hangar serve", "config.yaml", "run/hangar", "--url"]);
        assert_eq!(done.out, "", "{words:?}");
    }
    place.run(&["status", "--url", "http://127.0.0.1:1"]).exits(4).complains(&["http://127.0.0.1:1", "refused"]);
    place.run(&["status", "--socket", "gone.sock"]).exits(4).complains(&["gone.sock"]);
    std::fs::remove_file(place.config()).expect("removed");
    place.run(&["status"]).exits(4).complains(&["no configuration found", "--config FILE"]);
}

#[test]
fn what_answers_but_is_no_gateway_is_told_apart() {
    let place = Place::new(TWO);
    let socket = place.dir.path().join("other.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") == 1 {
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").expect("it reads");
        String::from_utf8(head).expect("UTF-8").to_lowercase()
    });
    place.run(&["list", "--socket", "other.sock"]).exits(4).complains(&["no hangar gateway", "other.sock"]);
    let head = answering.join().expect("it answered");
    for line in ["get /api/providers http/1.1", "host: localhost", "x-hangar-client: cli"] {
        assert!(head.contains(line), "{head}");
    }
    // Anybody could have put a socket there.
    let open = place.dir.path().join("run/hangar");
    std::fs::create_dir(&open).expect("a directory");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("its mode");
    place.run(&["status"]).exits(4);
}

#[test]
fn a_reader_that_goes_away_ends_the_output_quietly() {
    let place = Place::new(TWO);
    let mut child =
        place.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let done = Done::from(child.wait_with_output().expect("it ends")).exits(0);
    assert_eq!(done.err, "");
}
