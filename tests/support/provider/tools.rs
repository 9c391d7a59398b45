//! What the test provider's tools do. What takes time runs in its own thread: other calls are served meanwhile.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::{Command, Stdio, exit},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{Server, life, options::Grandchild};

#[derive(Deserialize)]
struct Call<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

/// One call, owned, so that a thread can serve it.
struct Job {
    server: Arc<Server>,
    id: String,
    name: String,
    /// As sent.
    raw: String,
    arguments: Value,
    progress_token: Option<String>,
    /// It does not want to hear log messages.
    silent: bool,
}

pub fn call(server: &Arc<Server>, id: &str, params: &str) {
    let Ok(call) = serde_json::from_str::<Call<'_>>(params) else {
        return server.error(id, -32602, "a call needs a name");
    };
    let raw = call.arguments.map_or("{}", RawValue::get).to_owned();
    let job = Job {
        server: Arc::clone(server),
        id: id.to_owned(),
        arguments: serde_json::from_str(&raw).unwrap_or_default(),
        raw,
        progress_token: call.meta.and_then(|m| m.progress_token).map(|t| t.get().to_owned()),
        silent: crate::modern::silent(params),
        name: call.name,
    };
    if crate::passing::serves(&job.server, &job.id, &job.name, &job.raw) {
        return;
    }
    if job.name == "call" {
        return job.text(params);
    }
    match job.name.as_str() {
        "sleep" | "progress" | "elicit" | "sample" | "roots" => drop(thread::spawn(move || job.slow())),
        _ => job.quick(),
    }
}

impl Job {
    fn slow(self) {
        match self.name.as_str() {
            "sleep" => {
                if self.sleep() {
                    self.text("slept");
                }
            }
            "progress" => self.progress(),
            "elicit" => {
                let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
                self.ask("elicitation/create", &json!({"message": "Who are you?", "requestedSchema": schema}));
            }
            "sample" => {
                let message = json!({"role": "user", "content": {"type": "text", "text": "Say something"}});
                self.ask("sampling/createMessage", &json!({"messages": [message], "maxTokens": 10}));
            }
            _ => self.ask("roots/list", &json!({})),
        }
    }

    fn quick(self) {
        match self.name.as_str() {
            "echo" => self.text(&self.raw),
            "structured" => {
                let text = Value::from(self.raw.as_str());
                let result =
                    format!(r#"{{"content":[{{"type":"text","text":{text}}}],"structuredContent":{}}}"#, self.raw);
                self.server.answer(&self.id, &result);
            }
            "pid" => self.text(&std::process::id().to_string()),
            "exit" => self.exit(),
            "crash_mid_line" => {
                let _ = write!(io::stdout(), r#"{{"jsonrpc":"2.0","id":{},"result":{{"#, self.id);
                let _ = io::stdout().flush();
                exit(1);
            }
            "close_stdout" => self.close_stdout(),
            "env" => self.env(),
            "fds" => self.text(&self.server.descriptors),
            "cwd" => self.text(&std::env::current_dir().unwrap_or_default().to_string_lossy()),
            "args" => self.text(&json!(std::env::args().collect::<Vec<_>>()).to_string()),
            "big" => self.text(&"x".repeat(self.number("bytes"))),
            "noise" => {
                for i in 0..self.number("lines") {
                    self.server.write(&format!("noise {i}"));
                }
                self.text("made noise");
            }
            "stderr" => {
                life::flood_stderr(self.number("bytes"));
                self.text("wrote to standard error");
            }
            "log" => {
                for i in 0..if self.silent { 0 } else { self.number("n") } {
                    let message = json!({"level": "info", "logger": "test", "data": format!("message {i}")});
                    self.server.notify("notifications/message", &message.to_string());
                }
                self.text("logged");
            }
            "add_tool" | "remove_tool" => self.change_tools(),
            "update_resource" => {
                let params = json!({"uri": self.string("uri")});
                if !self.server.tell("notifications/resources/updated", params.clone()) {
                    self.server.notify("notifications/resources/updated", &params.to_string());
                }
                self.text("updated");
            }
            "cancelled" => {
                let ids = self.server.lock().cancelled.join(",");
                self.text(&format!("[{ids}]"));
            }
            "subscriptions" => {
                let uris: std::collections::BTreeSet<String> = self.server.lock().subscribed.iter().cloned().collect();
                self.text(&json!(uris).to_string());
            }
            "log_level" => {
                let level = self.server.lock().log_level.clone();
                self.text(&level.unwrap_or_default());
            }
            "fork_orphan" => {
                let kind = self.arguments["kind"].as_str().unwrap_or("double-fork");
                life::spawn_descendant(Grandchild::parse(kind), &self.server.options);
                self.text("forked");
            }
            // Not listed.
            "list_fault" => {
                let how = self.string("how").to_owned();
                self.server.lock().list_fault = Some(how).filter(|how| how != "none");
                self.text("set");
            }
            "stop_reading" => {
                self.server.lock().deaf = true;
                self.text("reading no more");
            }
            "bad_ids" => {
                self.server.answer("999999", r#"{"content":[]}"#);
                self.server.answer("\"never-sent\"", r#"{"content":[]}"#);
                self.text("first");
                self.text("second");
            }
            "fail" => {
                let content = json!([{"type": "text", "text": self.string("text")}]);
                self.server.answer(&self.id, &json!({"content": content, "isError": true}).to_string());
            }
            "rpc_error" => {
                let code = self.arguments["code"].as_i64().and_then(|c| i32::try_from(c).ok()).unwrap_or(-32000);
                self.server.error(&self.id, code, self.string("message"));
            }
            private if crate::private::TOOLS.contains(&private) => {
                self.text(&self.server.private(private, &self.arguments));
            }
            extra
                if self.server.lock().tools.iter().any(|t| t == extra)
                    || self.server.options.catalogue.iter().any(|tool| tool["name"] == extra) =>
            {
                self.text(&format!("{extra} {}", self.raw))
            }
            _ => self.server.error(&self.id, -32602, &format!("Unknown tool: {}", self.name)),
        }
    }

    fn text(&self, text: &str) {
        self.server.answer(&self.id, &json!({"content": [{"type": "text", "text": text}]}).to_string());
    }

    fn number(&self, key: &str) -> usize {
        self.arguments[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    fn string(&self, key: &str) -> &str {
        self.arguments[key].as_str().unwrap_or_default()
    }

    /// False: cancelled, and then there is no answer.
    fn sleep(&self) -> bool {
        let until = Instant::now() + Duration::from_millis(self.number("ms") as u64);
        let mut state = self.server.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.cancelled.contains(&self.id) || left.is_zero() {
                return left.is_zero();
            }
            state = self.server.changed.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    fn progress(&self) {
        let n = self.number("n");
        for i in 1..=n {
            if let Some(token) = &self.progress_token {
                let params = format!(r#"{{"progressToken":{token},"progress":{i},"total":{n},"message":"step {i}"}}"#);
                self.server.notify("notifications/progress", &params);
            }
            thread::sleep(Duration::from_millis(self.number("ms") as u64));
        }
        self.text("done");
    }

    fn ask(&self, method: &str, params: &Value) {
        match self.server.ask(method, params) {
            Some(answer) => self.text(&answer),
            None => self.server.error(&self.id, -32603, "the client gave no answer"),
        }
    }

    fn env(&self) {
        match self.arguments["name"].as_str() {
            Some(name) => self.text(&json!(std::env::var(name).ok()).to_string()),
            None => self.text(&json!(std::env::vars().collect::<BTreeMap<_, _>>()).to_string()),
        }
    }

    fn exit(&self) {
        if let Some(signal) = self.arguments["signal"].as_i64().and_then(|s| i32::try_from(s).ok()) {
            let _ = Command::new("kill").args([format!("-{signal}"), std::process::id().to_string()]).status();
            life::sleep_for_ever();
        }
        let code = self.arguments["code"].as_i64().and_then(|c| i32::try_from(c).ok()).unwrap_or(0);
        life::end(&self.server.options, code);
    }

    /// There is no safe way to close one's own stdout, but a successor can be given none.
    fn close_stdout(&self) {
        use std::os::unix::process::CommandExt;
        let error = Command::new("sleep").arg("600").stdout(Stdio::null()).stdin(Stdio::null()).exec();
        self.server.error(&self.id, -32603, &error.to_string());
    }

    fn change_tools(&self) {
        let name = self.string("name").to_owned();
        {
            let tools = &mut self.server.lock().tools;
            tools.retain(|t| *t != name);
            if self.name == "add_tool" {
                tools.push(name);
            }
        }
        self.text("changed");
        if !self.server.tell("notifications/tools/list_changed", json!({})) {
            self.server.notify("notifications/tools/list_changed", "{}");
        }
    }
}
