//! `hangar demo-server` as a client sees it: the shipped binary, its pipes, its exit code.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    fn start(sets: &[&str]) -> Peer {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hangar"))
            .arg("demo-server")
            .args(sets)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Peer { child, stdin, stdout }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("not closed yet");
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).expect("it reads");
    }

    fn ask(&mut self, line: &str) -> Value {
        self.say(line);
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    fn request(&mut self, id: u32, method: &str, params: Value) -> Value {
        let answer = self.ask(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(id)), "{answer}");
        answer
    }

    /// Closes stdin. What it still said on stdout, on stderr, and its exit code.
    fn end(mut self) -> (String, String, Option<i32>) {
        drop(self.stdin.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).expect("stdout");
        self.child.stderr.take().expect("piped").read_to_string(&mut err).expect("stderr");
        (out, err, self.child.wait().expect("it ends").code())
    }
}

#[test]
fn a_whole_session_from_hello_to_the_end_of_stdin() {
    let mut peer = Peer::start(&["math"]);
    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = peer.request(1, "initialize", hello);
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(hello["result"]["serverInfo"]["name"], "hangar-demo-math");
    peer.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);

    let list = peer.request(2, "tools/list", json!({}));
    let tools = list["result"]["tools"].as_array().expect("a list");
    let names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["add", "subtract", "multiply", "divide", "power", "sqrt", "mean"]);

    let sum = peer.request(3, "tools/call", json!({"name": "add", "arguments": {"a": 19, "b": 23}}));
    assert_eq!(
        sum["result"],
        json!({"content": [{"type": "text", "text": "42"}], "structuredContent": {"result": 42}, "isError": false})
    );
    let zero = peer.request(4, "tools/call", json!({"name": "divide", "arguments": {"a": 1, "b": 0}}));
    assert_eq!(zero["result"]["isError"], true);
    assert!(zero["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("by zero")), "{zero}");
    assert_eq!(peer.request(5, "tools/call", json!({"name": "uppercase"}))["error"]["code"], -32602);
    assert_eq!(peer.end(), (String::new(), String::new(), Some(0)));
}

#[test]
fn without_a_set_there_are_all_of_them() {
    let mut peer = Peer::start(&[]);
    for (id, name, arguments, text) in [
        (1, "multiply", json!({"a": 6, "b": 7}), "42"),
        (2, "uppercase", json!({"text": "ä"}), "Ä"),
        (3, "convert", json!({"time": "2026-03-01T12:00:00Z", "timezone": "+02:00"}), "2026-03-01T14:00:00+02:00"),
    ] {
        let answer = peer.request(id, "tools/call", json!({"name": name, "arguments": arguments}));
        assert_eq!(answer["result"]["content"][0]["text"], text, "{answer}");
    }
    assert_eq!(peer.end().2, Some(0));
}

#[test]
fn every_result_fits_the_schema_that_was_listed_for_it() {
    let samples = json!({
        "add": {"a": 1, "b": 2}, "subtract": {"a": 1, "b": 2}, "multiply": {"a": 1.5, "b": 3}, "divide": {"a": 1, "b": 3},
        "power": {"base": 2, "exponent": 0.5}, "sqrt": {"number": 2}, "mean": {"numbers": [1, 2]},
        "uppercase": {"text": "a"}, "lowercase": {"text": "A"}, "reverse": {"text": "ab"},
        "replace": {"text": "a", "from": "a", "to": "b", "count": 1}, "word_count": {"text": "one two"},
        "now": {"timezone": "-03:00"}, "convert": {"time": "2026-03-01T12:00:00Z", "timezone": "UTC"},
        "add_duration": {"time": "2026-03-01T12:00:00Z", "duration": "P1D"},
        "difference": {"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T12:00:00.25Z"},
    });
    let mut peer = Peer::start(&["math", "text", "clock"]);
    let list = peer.request(0, "tools/list", json!({}));
    let tools = list["result"]["tools"].as_array().expect("a list");
    assert_eq!(tools.len(), samples.as_object().map_or(0, |all| all.len()));
    for (tool, id) in tools.iter().zip(1..) {
        let name = tool["name"].as_str().expect("a name");
        jsonschema::validate(&tool["inputSchema"], &samples[name]).unwrap_or_else(|e| panic!("{name} takes: {e}"));
        let answer = peer.request(id, "tools/call", json!({"name": name, "arguments": samples[name]}));
        let given = &answer["result"]["structuredContent"];
        jsonschema::validate(&tool["outputSchema"], given).unwrap_or_else(|e| panic!("{name} gives {given}: {e}"));
        assert!(!jsonschema::is_valid(&tool["inputSchema"], &json!({"nonsense": 1})), "{name}");
    }
}

#[test]
fn nonsense_is_answered_with_its_code_and_the_server_lives() {
    let mut peer = Peer::start(&["text"]);
    assert_eq!(peer.ask("{oops")["error"]["code"], -32700);
    assert_eq!(peer.ask("\u{0}")["error"]["code"], -32700);
    assert_eq!(peer.ask(&"[".repeat(100_000))["error"]["code"], -32700);
    assert_eq!(peer.ask("[]")["error"]["code"], -32600);
    assert_eq!(peer.request(1, "server/discover", json!({}))["error"]["code"], -32601);
    assert_eq!(peer.request(2, "ping", json!({}))["result"], json!({}));
    assert_eq!(peer.end().2, Some(0));
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let mut peer = Peer::start(&["text"]);
    let (mut stdin, mut err) = (peer.stdin.take().expect("open"), String::new());
    drop(peer.stdout);
    // The first answer may still fit the pipe of a reader that is about to go; the write fails at the latest after it.
    let _ = stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n");
    peer.child.stderr.take().expect("piped").read_to_string(&mut err).expect("stderr");
    assert_eq!((peer.child.wait().expect("it ends").code(), err.as_str()), (Some(0), ""));
}

#[test]
fn an_unknown_set_is_a_usage_error_on_stderr() {
    let (out, err, code) = Peer::start(&["maths"]).end();
    assert_eq!((out.as_str(), code), ("", Some(2)));
    assert!(err.contains("maths") && err.contains("math"), "{err}");
}
