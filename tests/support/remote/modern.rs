//! The test remote in revision 2026-07-28: one POST is one exchange, headers have to say what the body says, questions stand in
//! answers, and one listen stream tells what changes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{Out, Server, channel, mcp::result, stream};

pub const VERSION: &str = "2026-07-28";
const PROTOCOL: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Whether an earlier stream says something when there is a newer one.
static LAST_WORDS: AtomicBool = AtomicBool::new(false);

/// One `subscriptions/listen`.
pub struct Listener {
    id: Value,
    filter: Value,
    out: Out,
}

pub fn speaks(message: &Value) -> bool {
    message["method"] == "server/discover" || message["params"]["_meta"].get(PROTOCOL).is_some()
}

impl Server {
    /// One request of this era.
    pub async fn modern(self: &Arc<Self>, headers: &HeaderMap, message: &Value) -> Response {
        let method = message["method"].as_str().unwrap_or_default();
        let meta = &message["params"]["_meta"];
        if headers.contains_key("mcp-session-id") {
            return refuse(message, 400, -32600, "there are no sessions");
        }
        if meta[PROTOCOL] != VERSION || !meta[CAPABILITIES].is_object() {
            return refuse(message, 400, -32602, "params._meta lacks what every request bears");
        }
        if let Err(why) = mismatch(headers, method, &message["params"]) {
            self.count("mismatches");
            return refuse(message, 400, -32020, &why);
        }
        let name = message["params"]["name"].as_str().unwrap_or_default();
        let complete = |mut fields: Value| {
            fields["resultType"] = json!("complete");
            axum::Json(result(message, fields)).into_response()
        };
        match method {
            "server/discover" => complete(json!({
                "supportedVersions": [VERSION],
                "capabilities": {
                    "tools": {"listChanged": true},
                    "resources": {"subscribe": true, "listChanged": true},
                    "extensions": {"io.modelcontextprotocol/tasks": {}}
                },
                "ttlMs": 0,
                "cacheScope": "private",
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "hangar-test-remote", "version": "1"}}
            })),
            "tools/list" => complete(json!({"ttlMs": 0, "cacheScope": "private", "tools": self.modern_tools()})),
            "resources/list" => complete(
                json!({"ttlMs": 0, "cacheScope": "private", "resources": [{"uri": "test://über", "name": "x"}]}),
            ),
            "resources/templates/list" => {
                complete(json!({"ttlMs": 0, "cacheScope": "private", "resourceTemplates": []}))
            }
            "resources/read" if message["params"]["uri"] == "test://über" => {
                let contents = json!([{"uri": "test://über", "text": "read"}]);
                complete(json!({"ttlMs": 0, "cacheScope": "private", "contents": contents}))
            }
            "resources/read" => refuse(message, 200, -32602, "there is none"),
            "subscriptions/listen" => self.listen(message).await,
            "tasks/get" => complete(json!({"taskId": message["params"]["taskId"], "status": "working"})),
            "tools/call" => match name {
                "hang" => self.hang(message).await,
                "task" => {
                    axum::Json(result(message, json!({"resultType": "task", "taskId": "t/1", "status": "working"})))
                        .into_response()
                }
                "elicit" => self.elicit_in_answer(message),
                "change" => {
                    let listeners = std::mem::take(&mut *self.modern_listeners.lock().unwrap());
                    for listener in &listeners {
                        listener.tell("notifications/tools/list_changed", json!({})).await;
                        if listener.filter["resourceSubscriptions"].as_array().is_some_and(|uris| !uris.is_empty()) {
                            listener.tell("notifications/resources/updated", json!({"uri": "test://über"})).await;
                        }
                    }
                    let told = listeners.len();
                    self.modern_listeners.lock().unwrap().extend(listeners);
                    complete(json!({"content": [{"type": "text", "text": told.to_string()}]}))
                }
                "last_words" => {
                    LAST_WORDS.store(true, Ordering::Relaxed);
                    complete(json!({"content": []}))
                }
                "end_listening" => {
                    self.modern_listeners.lock().unwrap().clear();
                    complete(json!({"content": []}))
                }
                "listening" => {
                    let all = self.modern_listeners.lock().unwrap();
                    let open: Vec<Value> =
                        all.iter().filter(|l| !l.out.is_closed()).map(|l| l.filter.clone()).collect();
                    complete(json!({"content": [{"type": "text", "text": json!(open).to_string()}]}))
                }
                _ => {
                    let mut answer = self.answer(message, &channel().0).await;
                    answer["result"]["resultType"] = json!("complete");
                    axum::Json(answer).into_response()
                }
            },
            _ => refuse(message, 404, -32601, "method not found"),
        }
    }

    fn modern_tools(&self) -> Value {
        let plain = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
        let marked = json!({"name": "marked", "inputSchema": {"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "n": {"type": "integer", "x-mcp-header": "N"},
            "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}}
        }}});
        let mut tools: Vec<Value> = [
            "echo",
            "stats",
            "hang",
            "task",
            "elicit",
            "change",
            "end_listening",
            "listening",
            "last_words",
            "progress",
        ]
        .map(plain)
        .to_vec();
        tools.push(marked);
        tools
            .push(json!({"name": "bad", "inputSchema": {"properties": {"a": {"type": "array", "x-mcp-header": "A"}}}}));
        json!(tools)
    }

    /// Until the client drops the exchange.
    async fn hang(self: &Arc<Self>, message: &Value) -> Response {
        self.count("hanging");
        let (out, body) = channel();
        let (server, id) = (self.clone(), message["id"].clone());
        tokio::spawn(async move {
            let _ = out.send(Ok(": hanging\n\n".into())).await;
            out.closed().await;
            server.count("dropped");
            drop(id);
        });
        stream(body)
    }

    fn elicit_in_answer(&self, message: &Value) -> Response {
        let params = &message["params"];
        let fields = if params["requestState"] == "mine" {
            let text = params["inputResponses"].to_string();
            json!({"resultType": "complete", "content": [{"type": "text", "text": text}]})
        } else {
            let question = json!({"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}});
            json!({"resultType": "input_required", "inputRequests": {"q": question}, "requestState": "mine"})
        };
        axum::Json(result(message, fields)).into_response()
    }

    async fn listen(self: &Arc<Self>, message: &Value) -> Response {
        self.count("listens");
        let (out, body) = channel();
        let listener = Listener { id: message["id"].clone(), filter: message["params"]["notifications"].clone(), out };
        let granted = json!({"notifications": listener.filter});
        listener.tell("notifications/subscriptions/acknowledged", granted).await;
        let earlier = self.modern_listeners.lock().unwrap().pop();
        self.modern_listeners.lock().unwrap().push(listener);
        if let Some(earlier) = earlier {
            if !LAST_WORDS.load(Ordering::Relaxed) {
                self.modern_listeners.lock().unwrap().insert(0, earlier);
                return stream(body);
            }
            // What was said before the newer stream was there comes late.
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                earlier.tell("notifications/resources/updated", json!({"uri": "test://über"})).await;
            });
        }
        stream(body)
    }
}

impl Listener {
    async fn tell(&self, method: &str, mut params: Value) {
        params["_meta"] = json!({SUBSCRIPTION: self.id});
        let note = json!({"jsonrpc": "2.0", "method": method, "params": params});
        let _ = self.out.send(Ok(format!("data: {note}\n\n"))).await;
    }
}

fn refuse(message: &Value, status: u16, code: i32, text: &str) -> Response {
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}});
    (StatusCode::from_u16(status).unwrap(), axum::Json(answer)).into_response()
}

/// What the headers say otherwise than the body.
fn mismatch(headers: &HeaderMap, method: &str, params: &Value) -> Result<(), String> {
    let header = |name: &str| headers.get(name).map(|value| decode(&String::from_utf8_lossy(value.as_bytes())));
    let same = |name: &str, wanted: Option<String>| {
        let given = header(name);
        if given == wanted { Ok(()) } else { Err(format!("{name}: {given:?}, the body says {wanted:?}")) }
    };
    same("mcp-protocol-version", Some(VERSION.into()))?;
    same("mcp-method", Some(method.into()))?;
    let named = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" => params["taskId"].as_str(),
        _ => None,
    };
    same("mcp-name", named.map(str::to_owned))?;
    let arguments = &params["arguments"];
    let marked = method == "tools/call" && params["name"] == "marked";
    for (name, value) in [
        ("mcp-param-region", &arguments["region"]),
        ("mcp-param-n", &arguments["n"]),
        ("mcp-param-flag", &arguments["deep"]["flag"]),
    ] {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        same(name, Some(text).filter(|_| marked && !value.is_null()))?;
    }
    Ok(())
}

fn decode(value: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let encoded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let decoded = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| value.to_owned())
}
