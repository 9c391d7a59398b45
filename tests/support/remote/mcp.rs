//! What the test remote answers, once HTTP is done with.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{Out, Server};

impl Server {
    pub(crate) fn take_notice(&self, message: &Value) {
        self.count(message["method"].as_str().unwrap_or("answers"));
        if let Some(waiting) = message["id"].as_str().and_then(|id| self.waiting.lock().unwrap().remove(id)) {
            let _ = waiting.send(message["result"].clone());
        }
    }

    pub(crate) async fn answer(&self, message: &Value, out: &Out) -> Value {
        let (name, args) = (message["params"]["name"].as_str().unwrap_or_default(), &message["params"]["arguments"]);
        if message["method"] == "tools/list" {
            let tools =
                ["echo", "stats", "late_log"].map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
            return result(message, json!({"tools": tools}));
        }
        match message["method"].as_str().unwrap_or_default() {
            "resources/list" => return result(message, json!({"resources": [{"uri": "test://r", "name": "r"}]})),
            "resources/templates/list" => return result(message, json!({"resourceTemplates": []})),
            "resources/subscribe" | "logging/setLevel" => return result(message, json!({})),
            _ => {}
        }
        let text = match name {
            "echo" => args["text"].as_str().unwrap_or_default().to_owned(),
            "pid" => std::process::id().to_string(),
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(args["ms"].as_u64().unwrap_or(0))).await;
                "slept".into()
            }
            "progress" => {
                for done in 1..=3 {
                    let params =
                        json!({"progressToken": message["params"]["_meta"]["progressToken"], "progress": done});
                    tell(out, &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})).await;
                }
                "done".into()
            }
            "elicit" => self.elicit(out).await,
            "stats" => self.stats(),
            "burst" => {
                let status = u16::try_from(args["status"].as_u64().unwrap_or(503)).unwrap_or(503);
                let wait = args["retry_after"].as_str().map(str::to_owned);
                *self.burst.lock().unwrap() = (args["times"].as_u64().unwrap_or(1), status, wait);
                "ok".into()
            }
            "lose" => {
                let then = args["then"].as_u64().and_then(|status| u16::try_from(status).ok());
                *self.lost.lock().unwrap() = (args["times"].as_u64().unwrap_or(1), then);
                "ok".into()
            }
            "forget" => {
                self.sessions.lock().unwrap().clear();
                "ok".into()
            }
            "notify" => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
                let listeners = self.listeners.lock().unwrap().clone();
                for listener in &listeners {
                    tell(listener, &note).await;
                }
                listeners.len().to_string()
            }
            // On the streams of general messages, after the answer.
            "late_log" => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": args["text"]}});
                let listeners = self.listeners.lock().unwrap().clone();
                let after = Duration::from_millis(args["ms"].as_u64().unwrap_or(0));
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    for listener in &listeners {
                        tell(listener, &note).await;
                    }
                });
                "ok".into()
            }
            "end_streams" => {
                self.listeners.lock().unwrap().clear();
                "ok".into()
            }
            _ => message["method"].as_str().unwrap_or_default().to_owned(),
        };
        result(message, json!({"content": [{"type": "text", "text": text}]}))
    }

    async fn elicit(&self, out: &Out) -> String {
        let id = self.fresh("elicit-");
        let (give, wait) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id.clone(), give);
        let params = json!({"message": "?", "requestedSchema": {"type": "object", "properties": {}}});
        tell(out, &json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params})).await;
        wait.await.unwrap_or_default().to_string()
    }

    fn stats(&self) -> String {
        let mut stats = json!(*self.counts.lock().unwrap());
        stats["headers"] = json!(*self.headers.lock().unwrap());
        stats["listeners"] = json!(self.listeners.lock().unwrap().iter().filter(|l| !l.is_closed()).count());
        stats.to_string()
    }
}

pub(crate) fn initialized(message: &Value, resources: bool) -> Value {
    let version = &message["params"]["protocolVersion"];
    let info = json!({"name": "hangar-test-remote", "version": "1"});
    let capabilities = match resources {
        true => json!({"tools": {}, "resources": {"subscribe": true}, "logging": {}}),
        false => json!({"tools": {}}),
    };
    result(message, json!({"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}))
}

pub(crate) fn result(message: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": message["id"], "result": result})
}

async fn tell(out: &Out, message: &Value) {
    let _ = out.send(Ok(format!("data: {message}\n\n"))).await;
}
