//! What only one client at a time has to do with: what it declared, a number that is counted up, and what is said to it outside
//! of every call.

use std::{sync::Arc, thread, time::Duration};

use serde_json::{Value, json};

use crate::Server;

#[derive(Default)]
pub struct Private {
    /// `capabilities` of `initialize`, as sent.
    declared: String,
    count: u64,
    /// Answers to what was asked later.
    answers: Vec<String>,
    roots_changed: u64,
}

pub const TOOLS: [&str; 5] = ["declared", "count", "later", "answers", "roots_changed"];

impl Server {
    pub fn greeted(&self, params: &str) {
        let value: Value = serde_json::from_str(params).unwrap_or_default();
        let raw: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(params).unwrap_or_default();
        let mut state = self.lock();
        state.private.declared = raw.get("capabilities").map_or_else(String::new, |raw| raw.get().to_owned());
        if self.options.roots_tool && value["capabilities"].get("roots").is_some() {
            state.tools.push("with_roots".into());
        }
    }

    pub fn roots_changed(&self) {
        self.lock().private.roots_changed += 1;
    }

    /// `later`: {method, params, ms} as a notification, or with {ask: true} as a request.
    pub fn private(self: &Arc<Self>, tool: &str, arguments: &Value) -> String {
        match tool {
            "declared" => self.lock().private.declared.clone(),
            "count" => {
                let mut state = self.lock();
                state.private.count += 1;
                state.private.count.to_string()
            }
            "answers" => json!(self.lock().private.answers).to_string(),
            "roots_changed" => self.lock().private.roots_changed.to_string(),
            _ => {
                let (server, arguments) = (Arc::clone(self), arguments.clone());
                thread::spawn(move || server.say_later(&arguments));
                "later".into()
            }
        }
    }

    fn say_later(&self, arguments: &Value) {
        thread::sleep(Duration::from_millis(arguments["ms"].as_u64().unwrap_or(50)));
        let (method, params) = (arguments["method"].as_str().unwrap_or_default(), &arguments["params"]);
        if arguments["ask"] != true {
            return self.notify(method, &params.to_string());
        }
        let answer = self.ask(method, params).unwrap_or_else(|| "none".into());
        self.lock().private.answers.push(answer);
    }
}
