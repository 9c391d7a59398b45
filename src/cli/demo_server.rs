//! `hangar demo-server [math|text|clock]...`: a small, real MCP server on stdio, in the same binary, so that a fresh
//! machine has providers to put behind the gateway without Python, Node or Docker.
//!
//! One thread, blocking I/O, one JSON-RPC message a line; the end of stdin ends it. Speaks the revisions of [`VERSIONS`]
//! and keeps one thing in mind: the revision agreed on, since 2025-03-26 alone knows batches. It answers requests before
//! `initialize` too, so that `echo '{...}' | hangar demo-server` shows something.
//!
//! [`tool`] says what a tool is and checks its arguments; [`math`], [`text`] and [`clock`] are the tools.

mod clock;
mod math;
mod text;
mod tool;

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    process::ExitCode,
};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json, value::RawValue};

use tool::Tool;

/// The protocol revisions spoken. A client that asks for another one is offered the newest.
pub const VERSIONS: [&str; 4] = ["2024-11-05", BATCHES, "2025-06-18", NEWEST];
const NEWEST: &str = "2025-11-25";
/// The one revision that has JSON-RPC batches.
const BATCHES: &str = "2025-03-26";

/// Longest line taken, in bytes. A longer one is skipped and answered with an error.
const MAX_LINE: usize = 16 * 1024 * 1024;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// One set of tools, as named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Set {
    /// add, subtract, multiply, divide, power, sqrt, mean
    Math,
    /// uppercase, lowercase, reverse, replace, word_count
    Text,
    /// now, convert, add_duration, difference
    Clock,
}

impl Set {
    pub const ALL: [Set; 3] = [Set::Math, Set::Text, Set::Clock];

    pub fn name(self) -> &'static str {
        match self {
            Set::Math => "math",
            Set::Text => "text",
            Set::Clock => "clock",
        }
    }

    fn tools(self) -> &'static [Tool] {
        match self {
            Set::Math => math::TOOLS,
            Set::Text => text::TOOLS,
            Set::Clock => clock::TOOLS,
        }
    }
}

/// Serves `sets` (none = all of them) on stdin and stdout until stdin ends. Blocks; touches no async runtime.
/// 0 at the end of stdin or when the reader of stdout went away; 70 when stdin or stdout fail otherwise.
pub fn run(sets: &[Set]) -> ExitCode {
    let sets = if sets.is_empty() { &Set::ALL } else { sets };
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        eprintln!("hangar demo-server: an MCP server on stdio, meant to be started by an MCP client; Ctrl-D ends it");
    }
    match Server::new(sets).serve(BufReader::new(stdin), io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("hangar demo-server: stdin or stdout failed: {error}");
            ExitCode::from(70)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What one message asks for. Ids stay raw: the client gets back the very spelling that it sent.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    jsonrpc: Option<Value>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Value>,
}

/// `"id": null` is an id that is wrong, not an absent one; plain `Option` cannot tell them apart.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

struct Fault {
    code: i32,
    message: String,
}

fn fault<T>(code: i32, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { code, message: message.into() })
}

struct Server {
    sets: Vec<Set>,
    version: &'static str,
}

// === impl Server ===

impl Server {
    fn new(sets: &[Set]) -> Self {
        let mut unique = Vec::new();
        for set in sets {
            if !unique.contains(set) {
                unique.push(*set);
            }
        }
        Server { sets: unique, version: NEWEST }
    }

    fn serve(&mut self, mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            let answer = match read_line(&mut input, &mut line)? {
                Line::End => return Ok(()),
                Line::TooLong => {
                    Some(failure("null", INVALID_REQUEST, &format!("a line of more than {MAX_LINE} bytes")))
                }
                Line::Whole if line.trim_ascii().is_empty() => None,
                Line::Whole => self.line(line.trim_ascii()),
            };
            if let Some(mut answer) = answer {
                answer.push('\n');
                output.write_all(answer.as_bytes())?;
                output.flush()?;
            }
        }
    }

    /// One line, trimmed and not empty: a message, or a batch of them where the revision has batches.
    fn line(&mut self, line: &[u8]) -> Option<String> {
        if line.first() != Some(&b'[') {
            return self.message(line);
        }
        let batch: Vec<&RawValue> = match serde_json::from_slice(line) {
            Ok(batch) => batch,
            Err(error) => return Some(failure("null", PARSE_ERROR, &format!("not valid JSON: {error}"))),
        };
        if self.version != BATCHES || batch.is_empty() {
            return Some(failure(
                "null",
                INVALID_REQUEST,
                &format!("no batches in protocol revision {}", self.version),
            ));
        }
        let answers: Vec<String> = batch.iter().filter_map(|one| self.message(one.get().as_bytes())).collect();
        (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
    }

    /// `None`: nothing is to be said (a notification, or a response to something this server never asked).
    fn message(&mut self, json: &[u8]) -> Option<String> {
        // A derived struct would take an array for an object, field by field.
        if json.first() != Some(&b'{') {
            return Some(match serde_json::from_slice::<&RawValue>(json) {
                Ok(_) => failure("null", INVALID_REQUEST, "a JSON-RPC message is a JSON object"),
                Err(error) => failure("null", PARSE_ERROR, &format!("not valid JSON: {error}")),
            });
        }
        let message: Message = match serde_json::from_slice(json) {
            Ok(message) => message,
            Err(error) if error.is_data() => return Some(failure("null", INVALID_REQUEST, &error.to_string())),
            Err(error) => return Some(failure("null", PARSE_ERROR, &format!("not valid JSON: {error}"))),
        };
        let id = match message.id.map(RawValue::get) {
            Some(id) if !is_id(id) => {
                return Some(failure("null", INVALID_REQUEST, "`id` is neither a string nor an integer"));
            }
            id => id,
        };
        if message.jsonrpc != Some(json!("2.0")) {
            return Some(failure(id.unwrap_or("null"), INVALID_REQUEST, "`jsonrpc` is not \"2.0\""));
        }
        let (id, method) = id.zip(message.method.as_deref())?;
        Some(match self.request(method, message.params.unwrap_or(Value::Null)) {
            Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            Err(fault) => failure(id, fault.code, &fault.message),
        })
    }

    fn request(&mut self, method: &str, params: Value) -> Result<Value, Fault> {
        if !matches!(method, "initialize" | "ping" | "tools/list" | "tools/call") {
            return fault(METHOD_NOT_FOUND, format!("unknown method `{method}`"));
        }
        let params = match params {
            Value::Null => Map::new(),
            Value::Object(params) => params,
            _ => return fault(INVALID_PARAMS, "`params` is not an object"),
        };
        match method {
            "initialize" => self.initialize(&params),
            "tools/list" => self.list(&params),
            "tools/call" => self.call(params),
            _ => Ok(json!({})),
        }
    }

    fn initialize(&mut self, params: &Map<String, Value>) -> Result<Value, Fault> {
        let Some(asked) = params.get("protocolVersion").and_then(Value::as_str) else {
            return fault(INVALID_PARAMS, "`protocolVersion` is missing or not a string");
        };
        self.version = VERSIONS.into_iter().find(|v| *v == asked).unwrap_or(NEWEST);
        let names: Vec<_> = self.sets.iter().map(|set| set.name()).collect();
        Ok(json!({
            "protocolVersion": self.version,
            "capabilities": {"tools": {"listChanged": false}},
            "serverInfo": {
                "name": format!("hangar-demo-{}", names.join("-")),
                "title": format!("hangar demo: {}", names.join(", ")),
                "version": env!("CARGO_PKG_VERSION"),
            },
            "instructions": format!("Demonstration tools ({}): pure, fast, without access to anything.", names.join(", ")),
        }))
    }

    fn list(&self, params: &Map<String, Value>) -> Result<Value, Fault> {
        if params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
            return fault(INVALID_PARAMS, "unknown cursor: the list has one page");
        }
        Ok(json!({"tools": self.tools().map(Tool::describe).collect::<Vec<_>>()}))
    }

    fn call(&self, mut params: Map<String, Value>) -> Result<Value, Fault> {
        let Some(Value::String(name)) = params.remove("name") else {
            return fault(INVALID_PARAMS, "`name` is missing or not a string");
        };
        let Some(tool) = self.tools().find(|tool| tool.name == name) else {
            let known: Vec<_> = self.tools().map(|tool| tool.name).collect();
            return fault(INVALID_PARAMS, format!("unknown tool `{name}`; there are: {}", known.join(", ")));
        };
        match params.remove("arguments") {
            None | Some(Value::Null) => Ok(tool.call(Map::new())),
            Some(Value::Object(arguments)) => Ok(tool.call(arguments)),
            Some(_) => fault(INVALID_PARAMS, "`arguments` is not an object"),
        }
    }

    fn tools(&self) -> impl Iterator<Item = &'static Tool> {
        self.sets.iter().flat_map(|set| set.tools())
    }
}

fn is_id(raw: &str) -> bool {
    raw.starts_with('"') || raw.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit())
}

fn failure(id: &str, code: i32, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, json!({"code": code, "message": message}))
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads up to the next newline, which stays out of `line`. Never holds more than [`MAX_LINE`] bytes.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    if input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.last() != Some(&b'\n') && line.len() > MAX_LINE {
        input.skip_until(b'\n')?;
        return Ok(Line::TooLong);
    }
    Ok(Line::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(sets: &[Set], input: &[u8]) -> Vec<Value> {
        let mut output = Vec::new();
        Server::new(sets).serve(input, &mut output).expect("memory does not fail");
        String::from_utf8(output).expect("UTF-8").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    }

    fn one(input: &str) -> Value {
        let mut answers = talk(&Set::ALL, input.as_bytes());
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    #[test]
    fn the_clients_revision_is_answered_when_known_and_the_newest_otherwise() {
        for (asked, answered) in
            VERSIONS.map(|v| (v, v)).into_iter().chain([("2026-07-28", "2025-11-25"), ("", "2025-11-25")])
        {
            let answer = one(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
                "params": {"protocolVersion": asked, "capabilities": {}, "clientInfo": {}}})
            .to_string());
            assert_eq!(answer["result"]["protocolVersion"], answered, "{asked}");
        }
    }

    #[test]
    fn ids_come_back_as_they_were_spelled() {
        for id in ["7", "-7", "\"7\"", "\"\\u0041\"", "123456789012345678901234567890"] {
            let mut output = Vec::new();
            let input = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            Server::new(&Set::ALL).serve(input.as_bytes(), &mut output).expect("memory does not fail");
            assert_eq!(
                String::from_utf8_lossy(&output),
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n")
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_message_has_its_code() {
        for (line, code) in [
            ("{nonsense", PARSE_ERROR),
            ("nonsense", PARSE_ERROR),
            ("[1,", PARSE_ERROR),
            ("\u{1}", PARSE_ERROR),
            ("42", INVALID_REQUEST),
            ("[]", INVALID_REQUEST),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":3}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{}}}"#, METHOD_NOT_FOUND),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, INVALID_PARAMS),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ad"}}"#, INVALID_PARAMS),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":[]}}"#,
                INVALID_PARAMS,
            ),
        ] {
            let answer = one(line);
            assert_eq!(answer["error"]["code"], code, "{line} -> {answer}");
        }
    }

    #[test]
    fn a_broken_line_does_not_end_the_server_and_notifications_get_no_answer() {
        let answers = talk(
            &Set::ALL,
            b"{broken\n\n  \r\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n\
              {\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}",
        );
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!(answers[1], json!({"jsonrpc": "2.0", "id": 2, "result": {}}));
    }

    #[test]
    fn a_line_without_end_is_skipped_and_the_next_one_is_served() {
        let mut input = vec![b'x'; MAX_LINE + 10];
        input.extend_from_slice(b"\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n");
        let answers = talk(&Set::ALL, &input);
        assert_eq!(answers[0]["error"]["code"], INVALID_REQUEST);
        assert_eq!(answers[1]["result"], json!({}));
    }

    #[test]
    fn batches_exist_in_one_revision() {
        let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},7]"#;
        for version in VERSIONS {
            let hello =
                json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": version}});
            let answers = talk(&Set::ALL, format!("{hello}\n{batch}\n").as_bytes());
            if version == BATCHES {
                assert_eq!(answers[1][0]["result"], json!({}));
                assert_eq!(answers[1][1]["error"]["code"], INVALID_REQUEST);
                assert_eq!(answers[1].as_array().map(Vec::len), Some(2));
            } else {
                assert_eq!(answers[1]["error"]["code"], INVALID_REQUEST, "{version}");
            }
        }
    }

    #[test]
    fn the_sets_asked_for_are_the_tools_listed_and_no_name_appears_twice() {
        let list = |sets: &[Set]| -> Vec<String> {
            let answers = talk(sets, br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
            let tools = answers[0]["result"]["tools"].as_array().expect("a list").clone();
            tools.iter().map(|t| t["name"].as_str().expect("a name").to_owned()).collect()
        };
        let all = list(&Set::ALL);
        assert_eq!(all, [list(&[Set::Math]), list(&[Set::Text]), list(&[Set::Clock])].concat());
        assert_eq!(list(&[Set::Text, Set::Text]), list(&[Set::Text]));
        let mut unique = all.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), all.len());
    }
}
