//! `hangar-test-provider`: a scripted MCP server over stdio for the black-box tests. Std and serde_json only.
//!
//! What it does wrong it does on request: see [`options`] for its behaviour as a process, [`tools`] for what it does when
//! called. Everything a call carries is echoed byte for byte, so that a test can see whether a gateway changed it.

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

#[path = "provider/catalogue.rs"]
mod catalogue;
#[path = "provider/life.rs"]
mod life;
#[path = "provider/modern.rs"]
mod modern;
#[path = "provider/options.rs"]
mod options;
#[path = "provider/passing.rs"]
mod passing;
#[path = "provider/private.rs"]
mod private;
#[path = "search/mod.rs"]
mod search;
#[path = "provider/tasks.rs"]
mod tasks;
#[path = "provider/tools.rs"]
mod tools;

use options::{Handshake, Options};

/// Revisions that are echoed when offered; anything else is answered with the newest.
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

fn main() {
    let descriptors = life::descriptors();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == life::DESCENDANT) {
        return life::descendant(&args);
    }
    let options = Options::parse(args.into_iter());
    life::begin(&options);
    let server = Arc::new(Server::new(options, descriptors));
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if !line.trim().is_empty() {
            server.receive(&line);
        }
        if server.lock().deaf {
            life::sleep_for_ever();
        }
    }
    if server.options.ignore_eof {
        life::sleep_for_ever();
    }
    life::end(&server.options, 0);
}

struct Server {
    options: Options,
    /// Open when we were started, before we opened anything ourselves.
    descriptors: String,
    state: Mutex<State>,
    /// Something was cancelled.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tools: Vec<String>,
    /// Raw ids of the requests that were cancelled.
    cancelled: Vec<String>,
    /// Our own requests to the client, by id.
    asked: HashMap<String, mpsc::Sender<String>>,
    next_id: u32,
    deaf: bool,
    passing: passing::Heard,
    tasks: Vec<tasks::Task>,
    log_level: Option<String>,
    private: private::Private,
    subscribed: Vec<String>,
    /// Ids of requests of the modern era that are not answered yet.
    modern: HashSet<String>,
    listeners: Vec<modern::Listener>,
    /// Of a server that serves one era once it has begun: whether it is the modern one.
    locked: Option<bool>,
    /// It has refused one request.
    refused: bool,
}

/// One message, raw where it is echoed.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Server {
    fn new(options: Options, descriptors: String) -> Self {
        let state = State { tools: options.tools.clone(), ..State::default() };
        Self { options, descriptors, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(self: &Arc<Self>, line: &str) {
        self.log_request(line);
        let Ok(message) = serde_json::from_str::<Incoming<'_>>(line) else {
            return self.error("null", -32700, "parse error");
        };
        let params = message.params.map_or("{}", RawValue::get);
        match (message.method.as_deref(), message.id) {
            (Some(method), Some(id)) => self.request(id.get(), method, params),
            (Some(method), None) => self.notification(method, params),
            (None, Some(id)) => self.response(id.get(), message.result.or(message.error)),
            (None, None) => {}
        }
    }

    fn request(self: &Arc<Self>, id: &str, method: &str, params: &str) {
        let value: Value = serde_json::from_str(params).unwrap_or_default();
        if self.options.refuse_envelope && params.contains("io.modelcontextprotocol") {
            return self.error(id, -32600, "this connection serves the handshake protocol era");
        }
        if self.in_modern_era(id, method, params, &value) || tasks::serves(self, id, method, &value) {
            return;
        }
        let result = match method {
            "initialize" => {
                self.greeted(params);
                return self.initialize(id, &value);
            }
            "ping" => json!({}),
            "tools/list" => match catalogue::tools(&self.lock().tools, &self.options, &value) {
                Ok(page) => page,
                Err(text) => return self.error(id, -32602, text),
            },
            "tools/call" => return tools::call(self, id, params),
            "resources/list" => catalogue::resources(),
            "resources/templates/list" => catalogue::templates(),
            "resources/read" => match catalogue::read(&value) {
                Some(result) => result,
                None => return self.error(id, -32002, "resource not found"),
            },
            "resources/subscribe" => {
                self.lock().subscribed.push(value["uri"].as_str().unwrap_or_default().to_owned());
                json!({})
            }
            "resources/unsubscribe" => {
                self.lock().subscribed.retain(|uri| Some(uri.as_str()) != value["uri"].as_str());
                json!({})
            }
            "prompts/list" => catalogue::prompts(),
            "prompts/get" => match catalogue::prompt(&value) {
                Some(result) => result,
                None => return self.error(id, -32602, "no such prompt"),
            },
            "completion/complete" => catalogue::complete(&value),
            "logging/setLevel" => {
                self.lock().log_level = value["level"].as_str().map(str::to_owned);
                json!({})
            }
            _ => return passing::vendor(self, id, method, params),
        };
        self.answer(id, &result.to_string());
    }

    fn initialize(&self, id: &str, params: &Value) {
        match self.options.handshake {
            Handshake::Normal => {}
            Handshake::Exit(code) => life::end(&self.options, code),
            Handshake::Hang => life::sleep_for_ever(),
            Handshake::Error => return self.error(id, -32603, "the handshake was made to fail"),
        }
        let offered = params["protocolVersion"].as_str().unwrap_or_default();
        let version = VERSIONS.into_iter().find(|v| *v == offered).unwrap_or("2025-11-25");
        let result = json!({
            "protocolVersion": version,
            "capabilities": tasks::capabilities(self, false, json!({
                "tools": {"listChanged": true},
                "resources": {"listChanged": true, "subscribe": true},
                "prompts": {"listChanged": true},
                "completions": {},
                "logging": {}
            })),
            "serverInfo": {"name": self.options.name, "version": self.options.version},
            "instructions": "a test provider"
        });
        self.answer(id, &result.to_string());
    }

    fn notification(self: &Arc<Self>, method: &str, params: &str) {
        self.lock().passing.notification(method, params);
        #[derive(Deserialize)]
        struct Cancelled<'a> {
            #[serde(rename = "requestId", borrow)]
            id: &'a RawValue,
        }
        if method == "notifications/initialized" && self.options.ask_roots {
            let asking = serde_json::json!({"ask": true, "method": "roots/list", "params": {}, "ms": 0});
            self.private("later", &asking);
        }
        if method == "notifications/roots/list_changed" {
            self.roots_changed();
        }
        if method == "notifications/cancelled"
            && let Ok(cancelled) = serde_json::from_str::<Cancelled<'_>>(params)
        {
            self.stop_listening(cancelled.id.get());
            self.lock().cancelled.push(cancelled.id.get().to_owned());
            self.changed.notify_all();
        }
    }

    fn response(&self, id: &str, body: Option<&RawValue>) {
        let waiting = self.lock().asked.remove(id);
        if let (Some(waiting), Some(body)) = (waiting, body) {
            let _ = waiting.send(body.get().to_owned());
        }
    }

    /// Asks the client and waits; `None`: no answer within 30 s.
    fn ask(&self, method: &str, params: &Value) -> Option<String> {
        self.ask_all(&[(method, params.clone())]).pop().flatten()
    }

    /// All in one write; the answers in the order of the questions.
    fn ask_all(&self, questions: &[(&str, Value)]) -> Vec<Option<String>> {
        let (mut lines, mut answers) = (Vec::new(), Vec::new());
        for (method, params) in questions {
            let (sender, answer) = mpsc::channel();
            let mut state = self.lock();
            state.next_id += 1;
            let id = format!("\"test-{}\"", state.next_id);
            state.asked.insert(id.clone(), sender);
            lines.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
            answers.push(answer);
        }
        self.write(&lines.join("\n"));
        answers.into_iter().map(|answer| answer.recv_timeout(Duration::from_secs(30)).ok()).collect()
    }

    fn answer(&self, id: &str, result: &str) {
        let result = self.completed(id, result);
        self.write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    }

    fn error(&self, id: &str, code: i32, message: &str) {
        let error = json!({"code": code, "message": message});
        self.write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
    }

    fn notify(&self, method: &str, params: &str) {
        self.write(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
    }

    /// One line, whole.
    fn write(&self, line: &str) {
        let mut out = io::stdout().lock();
        let sent = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
        if sent.is_err() && !self.options.ignore_eof {
            life::end(&self.options, 1);
        }
    }
}
