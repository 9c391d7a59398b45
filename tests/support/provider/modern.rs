//! The test provider in revision 2026-07-28: no handshake, every request says who asks; questions stand in answers; one listen
//! stream for what changes.

use std::{io::Write, sync::Arc};

use serde_json::{Value, json, value::RawValue};

use crate::{
    Server, catalogue, life,
    options::{Era, Probe},
    tools,
};

pub const VERSION: &str = "2026-07-28";
const PROTOCOL: &str = "io.modelcontextprotocol/protocolVersion";
pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// One `subscriptions/listen`.
pub struct Listener {
    id: String,
    filter: Value,
}

/// Listed beside the others, to show what becomes of their marks.
pub fn marked_tools() -> Vec<Value> {
    let tool = |name: &str, properties: Value| json!({"name": name, "inputSchema": {"type": "object", "properties": properties}});
    vec![
        tool(
            "region",
            json!({"region": {"type": "string", "x-mcp-header": "Region"}, "n": {"type": "integer", "x-mcp-header": "N"}}),
        ),
        tool("bad_mark", json!({"a": {"type": "string", "x-mcp-header": "no token"}})),
        tool(
            "twice_marked",
            json!({"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}),
        ),
        tool("meta", json!({})),
        tool("rounds", json!({"n": {"type": "integer"}})),
        tool("listening", json!({})),
        tool("end_listening", json!({})),
    ]
}

impl Server {
    /// Whether this is a request of the modern era, or is refused as one. `true`: it is done with.
    pub fn in_modern_era(self: &Arc<Self>, id: &str, method: &str, params: &str, value: &Value) -> bool {
        let meta = &value["_meta"];
        let says_so = meta.get(PROTOCOL).is_some();
        match self.options.era {
            Era::Legacy if method == "server/discover" => return self.odd_probe(id),
            Era::Legacy => return false,
            Era::Both if !says_so && method != "server/discover" => return false,
            Era::Turning => {
                let turned = self.lock().locked.is_some() || method == "initialize";
                if turned {
                    self.lock().locked = Some(false);
                    if says_so {
                        self.error(id, -32022, "connection is serving the handshake era");
                    }
                    return says_so;
                }
            }
            Era::Locked => {
                let modern = *self.lock().locked.get_or_insert(says_so);
                if !modern && says_so {
                    self.error(id, -32022, "connection is serving the handshake era");
                    return true;
                }
                if !modern {
                    return false;
                }
            }
            _ => {}
        }
        if method == "initialize" {
            self.error(id, -32022, "connection is serving 2026-07-28");
        } else if meta[PROTOCOL] != VERSION || !meta[CAPABILITIES].is_object() {
            self.error(id, -32602, "params._meta lacks what every request bears");
        } else if self.options.probe == Probe::Twice && !std::mem::replace(&mut self.lock().refused, true) {
            let error = json!({"code": -32022, "message": "not yet", "data": {"supported": [VERSION]}});
            self.write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
        } else {
            self.modern(id, method, params, value);
        }
        true
    }

    fn odd_probe(self: &Arc<Self>, id: &str) -> bool {
        match self.options.probe {
            Probe::Unknown | Probe::Twice => return false,
            Probe::Error(code) => self.error(id, code, "no"),
            Probe::Silent => {}
            Probe::Garbage => self.answer(id, r#"{"supportedVersions":7}"#),
            Probe::Noise => self.write("{not json"),
            Probe::Exit => life::end(&self.options, 4),
            Probe::Linger => {
                use std::os::unix::process::CommandExt;
                let null = std::process::Stdio::null;
                let _ = std::process::Command::new("sleep").arg("0.3").stdout(null()).stdin(null()).exec();
            }
            Probe::Choke => life::sleep_for_ever(),
        }
        true
    }

    fn modern(self: &Arc<Self>, id: &str, method: &str, params: &str, value: &Value) {
        self.lock().modern.insert(id.to_owned());
        if crate::tasks::serves(self, id, method, value) {
            return;
        }
        let cached = |mut result: Value| {
            result["ttlMs"] = json!(self.options.ttl_ms);
            result["cacheScope"] = json!(self.options.cache_scope);
            result
        };
        let result = match method {
            "server/discover" => cached(json!({
                "supportedVersions": [VERSION],
                "capabilities": crate::tasks::capabilities(self, true, json!({
                    "tools": {"listChanged": self.options.list_changed},
                    "resources": {"listChanged": true, "subscribe": true},
                    "prompts": {"listChanged": true},
                    "completions": {},
                    "logging": {}
                })),
                "instructions": "a modern test provider",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": self.options.name, "version": self.options.version}}
            })),
            "tools/list" => match catalogue::tools(&self.lock().tools, &self.options, value) {
                Ok(page) => cached(page),
                Err(text) => return self.error(id, -32602, text),
            },
            "tools/call" if self.asks(id, value, params) => return,
            "tools/call" => return tools::call(self, id, params),
            "resources/list" => cached(catalogue::resources()),
            "resources/templates/list" => cached(catalogue::templates()),
            "resources/read" => match catalogue::read(value) {
                Some(result) => cached(result),
                None => return self.error(id, -32602, "resource not found"),
            },
            "prompts/list" => cached(catalogue::prompts()),
            "prompts/get" => match catalogue::prompt(value) {
                Some(result) => result,
                None => return self.error(id, -32602, "no such prompt"),
            },
            "completion/complete" => catalogue::complete(value),
            "subscriptions/listen" => return self.listen(id, value),
            _ => return crate::passing::vendor(self, id, method, params),
        };
        self.answer(id, &result.to_string());
    }

    /// What every result of this era bears.
    pub fn completed(&self, id: &str, result: &str) -> String {
        if !self.lock().modern.remove(id) || result.contains("\"resultType\"") || result == "{}" {
            return result.to_owned();
        }
        result.replacen('{', r#"{"resultType":"complete","#, 1)
    }

    /// The tools that need their client, and those that tell of this era. `true`: it is done with.
    fn asks(&self, id: &str, value: &Value, params: &str) -> bool {
        let name = value["name"].as_str().unwrap_or_default();
        let (state, responses) = (value["requestState"].as_str(), &value["inputResponses"]);
        let capabilities = &value["_meta"][CAPABILITIES];
        let text = |text: &str| {
            self.answer(id, &json!({"content": [{"type": "text", "text": text}]}).to_string());
            true
        };
        // A question tells which call it is of, when that has said so.
        let whom = value["arguments"]["nonce"].as_str().unwrap_or("Who are you?");
        let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        let question = json!({"method": "elicitation/create", "params": {"message": whom, "requestedSchema": schema}});
        let (capability, question) = match name {
            "elicit" | "rounds" => ("elicitation", question),
            "sample" => {
                let message = json!({"role": "user", "content": {"type": "text", "text": "Say something"}});
                (
                    "sampling",
                    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 10}}),
                )
            }
            "roots" => ("roots", json!({"method": "roots/list", "params": {}})),
            "meta" => return text(params),
            "listening" => {
                let filters: Vec<Value> = self.lock().listeners.iter().map(|l| l.filter.clone()).collect();
                return text(&json!(filters).to_string());
            }
            "end_listening" => {
                let gone = std::mem::take(&mut self.lock().listeners);
                for listener in gone {
                    let meta = json!({SUBSCRIPTION: raw(&listener.id)});
                    self.answer(&listener.id, &json!({"resultType": "complete", "_meta": meta}).to_string());
                }
                return text("ended");
            }
            _ => return false,
        };
        if capabilities.get(capability).is_none() && self.options.era != Era::Both {
            self.error(id, -32021, "the client cannot be asked");
            return true;
        }
        let wanted = if name == "rounds" { value["arguments"]["n"].as_u64().unwrap_or(0) } else { 1 };
        let done = match state {
            None => 0,
            Some(state) => match state.strip_prefix("mine:").and_then(|n| n.parse::<u64>().ok()) {
                Some(n) if responses["q"].is_object() => n,
                _ => {
                    self.error(id, -32602, "no state of mine");
                    return true;
                }
            },
        };
        if done >= wanted {
            return text(&json!({"answers": responses, "rounds": done}).to_string());
        }
        let result = json!({
            "resultType": "input_required",
            "inputRequests": {"q": question},
            "requestState": format!("mine:{}", done + 1),
            "x-more": 1
        });
        self.answer(id, &result.to_string());
        true
    }

    fn listen(&self, id: &str, value: &Value) {
        let filter = value["notifications"].clone();
        let params = json!({"_meta": {SUBSCRIPTION: raw(id)}, "notifications": filter});
        self.lock().listeners.push(Listener { id: id.to_owned(), filter });
        self.notify("notifications/subscriptions/acknowledged", &params.to_string());
    }

    pub fn stop_listening(&self, id: &str) {
        self.lock().listeners.retain(|listener| listener.id != id);
    }

    /// Tells it to whoever listens; `false`: this is not how it is told in this era.
    pub fn tell(&self, method: &str, params: Value) -> bool {
        if matches!(self.options.era, Era::Legacy) {
            return false;
        }
        let fits = |filter: &Value| match method {
            "notifications/resources/updated" => {
                filter["resourceSubscriptions"].as_array().is_some_and(|all| all.contains(&params["uri"]))
            }
            "notifications/tasks" => filter["taskIds"].as_array().is_some_and(|all| all.contains(&params["taskId"])),
            _ => filter["toolsListChanged"] == true,
        };
        let ids: Vec<String> = self.lock().listeners.iter().filter(|l| fits(&l.filter)).map(|l| l.id.clone()).collect();
        for id in &ids {
            let mut params = params.clone();
            params["_meta"] = json!({SUBSCRIPTION: raw(id)});
            self.notify(method, &params.to_string());
        }
        !ids.is_empty() || self.options.era != Era::Both
    }

    pub fn log_request(&self, line: &str) {
        let Some(file) = &self.options.log_requests else { return };
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        let method = message["method"].as_str().unwrap_or("answer");
        if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(file) {
            let _ = writeln!(file, "{method}");
        }
    }
}

/// Whether a request of this era wants to hear log messages.
pub fn silent(params: &str) -> bool {
    let meta = serde_json::from_str::<Value>(params).unwrap_or_default()["_meta"].take();
    meta.get(PROTOCOL).is_some() && !matches!(meta[LOG_LEVEL].as_str(), Some("debug" | "info"))
}

fn raw(id: &str) -> Value {
    serde_json::from_str::<&RawValue>(id).ok().and_then(|id| serde_json::from_str(id.get()).ok()).unwrap_or_default()
}
