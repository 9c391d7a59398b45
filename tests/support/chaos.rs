//! `hangar-test-chaos FILE`: an MCP server on stdio that fails as it is told: at its start by what FILE says (nothing, or no such
//! file: it starts well), later by the argument `do` of its tool `t`. One thread, bytes by hand, so that nothing in between is
//! better behaved than the fault.

use std::{
    env, fs,
    io::{self, BufRead, Write},
    process, thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

/// Never a zombie of a test that was killed.
const LIFE: Duration = Duration::from_secs(120);

fn main() {
    thread::spawn(|| {
        thread::sleep(LIFE);
        process::exit(99);
    });
    let fault = env::args().nth(1).and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let (word, number) = parts(fault.trim());
    match word {
        "exit" => leave(3, "no licence found"),
        "slow" => thread::sleep(Duration::from_millis(number)),
        "hang" => for_ever(),
        "noise" => noise(number),
        _ => {}
    }
    let mut chaos = Chaos { late: None };
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if word == "exit-in-handshake" {
            leave(4, "cannot open the store");
        }
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        match message["method"].as_str() {
            Some("notifications/cancelled") => chaos.cancelled(),
            Some(method) if message.get("id").is_some() => chaos.request(method, &message),
            _ => {}
        }
        if word == "exit-after-handshake" && message["method"] == "tools/list" {
            thread::sleep(Duration::from_millis(number));
            leave(5, "the store went away");
        }
    }
}

struct Chaos {
    /// An id that is answered once nobody waits for it any more.
    late: Option<Value>,
}

impl Chaos {
    fn request(&mut self, method: &str, message: &Value) {
        let id = &message["id"];
        let result = match method {
            "initialize" => json!({
                "protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "chaos", "version": "1"}
            }),
            "ping" => json!({}),
            "tools/list" => json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
            "tools/call" => {
                let fault = message["params"]["arguments"]["do"].as_str().unwrap_or_default();
                match self.fault(fault, id) {
                    Some(text) => json!({"content": [{"type": "text", "text": text}]}),
                    None => return,
                }
            }
            _ => {
                let error = json!({"code": -32601, "message": "method not found"});
                return say(&json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
            }
        };
        say(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    }

    /// `None`: the call is not answered, or was already.
    fn fault(&mut self, fault: &str, id: &Value) -> Option<String> {
        let (word, number) = parts(fault);
        let answer = |id: &str, text: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#)
        };
        match word {
            "exit" => leave(6, "out of ideas"),
            "mid-line" => {
                let line = answer(&id.to_string(), "the second half never comes");
                bytes(&line.as_bytes()[..line.len() / 2]);
                leave(7, "in the middle of a word");
            }
            "hang" => return None,
            "late" => {
                self.late = Some(id.clone());
                return None;
            }
            "stop" => drop(kill_process(getpid(), Signal::STOP)),
            "deaf" => for_ever(),
            "close" => {
                // There is no other descriptor of it: the gateway reads the end of our output.
                let _ = rustix::stdio::dup2_stdout(fs::File::open("/dev/null").expect("it opens"));
                for_ever();
            }
            "noise" => noise(number),
            "oversize" => {
                let text = "x".repeat(usize::try_from(number).unwrap_or_default());
                say(&answer(&id.to_string(), &text));
                return None;
            }
            "large" => return Some("x".repeat(usize::try_from(number).unwrap_or_default())),
            "flood-stdout" => return Some(flood(io::stdout().lock(), number, lines())),
            "flood-stderr" => return Some(flood(io::stderr().lock(), number, lines())),
            "flood-line" => {
                let told = flood(io::stdout().lock(), number, vec![b'x'; 1 << 16]);
                bytes(b"\n");
                return Some(told);
            }
            "ids" => {
                for wrong in
                    ["18446744073709551615", "99999999999999999999", "-1", "0.5", "\"a\"", "null", "true", "{}"]
                {
                    say(&answer(wrong, "unknown"));
                }
                say(&answer(&format!("\"{id}\""), "as a text"));
                say(&answer(&id.to_string(), "first"));
                say(&answer(&id.to_string(), "second"));
                return None;
            }
            _ => {}
        }
        Some(process::id().to_string())
    }

    fn cancelled(&mut self) {
        if let Some(id) = self.late.take() {
            say(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "late"}]}})
                .to_string());
        }
    }
}

/// `WORD NUMBER`
fn parts(fault: &str) -> (&str, u64) {
    let (word, number) = fault.split_once(' ').unwrap_or((fault, "0"));
    (word, number.parse().unwrap_or_default())
}

fn leave(code: i32, last_words: &str) -> ! {
    let _ = writeln!(io::stderr(), "chaos: {last_words}");
    process::exit(code)
}

fn for_ever() -> ! {
    loop {
        thread::sleep(LIFE);
    }
}

fn say(line: &str) {
    bytes(format!("{line}\n").as_bytes());
}

fn bytes(text: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
}

fn noise(lines: u64) {
    for number in 0..lines {
        bytes(format!("\x1b[32mINFO\x1b[0m starting, step {number}\r\n\n").as_bytes());
        bytes(b"\xff\xfe\x00 no text\n{\"half\": \n[]\n\"text\"\n17\n{\"jsonrpc\":\"2.0\"}\n");
    }
}

/// What a server may write between two messages, and messages that are nobody's.
fn lines() -> Vec<u8> {
    let stray =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":987654321,"progress":1}}"#;
    let pair = format!("{stray}\n{}\n", "DEBUG: what nobody reads ".repeat(30));
    pair.repeat((1 << 16) / pair.len()).into_bytes()
}

/// For so many milliseconds as fast as it is taken, 100 MB a second at most; how fast that was.
fn flood(mut out: impl Write, milliseconds: u64, chunk: Vec<u8>) -> String {
    const MOST: f64 = 100e6;
    let (began, time, mut written) = (Instant::now(), Duration::from_millis(milliseconds), 0.0);
    while began.elapsed() < time {
        if out.write_all(&chunk).is_err() {
            break;
        }
        written += chunk.len() as f64;
        let due = Duration::from_secs_f64(written / MOST);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
    format!("{:.0} MB/s", written / 1e6 / began.elapsed().as_secs_f64())
}
