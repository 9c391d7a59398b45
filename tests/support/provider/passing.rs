//! Messages that no other part of the test provider knows: methods of a vendor, notifications, and requests of any method to the
//! client.

use std::{sync::Arc, thread, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::Server;

/// What the client has told, in order, each `METHOD PARAMS`.
#[derive(Default)]
pub struct Heard(Vec<String>);

impl Heard {
    pub fn notification(&mut self, method: &str, params: &str) {
        self.0.push(format!("{method} {params}"));
    }
}

#[derive(Deserialize)]
struct Arguments<'a> {
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// A request of a method that nobody else knows: those of the vendor are answered with what they bear.
pub fn vendor(server: &Server, id: &str, method: &str, params: &str) {
    match method.strip_prefix("vendor/") {
        Some(_) => server.answer(id, &format!(r#"{{"method":"{method}","params":{params}}}"#)),
        None => server.error(id, -32601, "method not found"),
    }
}

/// The tools `ask`, `ask_both` (for a sampling and for the user, together), `ask_then_cancel`, `say`, `heard`, `answer` (its arguments are the result), `link` (an elicitation that ends
/// elsewhere, a little later). `true`: it was one of them.
pub fn serves(server: &Arc<Server>, id: &str, name: &str, arguments: &str) -> bool {
    match name {
        "ask" | "ask_both" | "ask_then_cancel" | "say" | "heard" => {}
        "answer" => {
            server.answer(id, arguments);
            return true;
        }
        "link" => {
            link(server, id);
            return true;
        }
        _ => return false,
    }
    let Ok(wanted) = serde_json::from_str::<Arguments<'_>>(arguments) else {
        server.error(id, -32602, "arguments");
        return true;
    };
    let method = wanted.method.unwrap_or_default();
    let params = wanted.params.map_or("{}", RawValue::get).to_owned();
    let (server, id, name) = (server.clone(), id.to_owned(), name.to_owned());
    thread::spawn(move || match name.as_str() {
        "ask" => {
            let params: Value = serde_json::from_str(&params).unwrap_or_default();
            let answer = server.ask(&method, &params);
            text(&server, &id, &answer.unwrap_or_else(|| "no answer".into()));
        }
        "ask_both" => {
            let user = json!({"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}});
            let mut questions =
                [("sampling/createMessage", json!({"messages": [], "maxTokens": 1})), ("elicitation/create", user)];
            // `method`: the one that comes first.
            questions.sort_by_key(|(name, _)| *name != method);
            let answers = server.ask_all(&questions);
            let told: serde_json::Map<_, _> =
                questions.iter().zip(answers).map(|((name, _), answer)| ((*name).to_owned(), json!(answer))).collect();
            text(&server, &id, &Value::Object(told).to_string());
        }
        "ask_then_cancel" => {
            server.write(&format!(r#"{{"jsonrpc":"2.0","id":"gone","method":"{method}","params":{params}}}"#));
            thread::sleep(Duration::from_millis(100));
            server.notify("notifications/cancelled", r#"{"requestId":"gone","reason":"never mind"}"#);
            // As long as the call runs the client can be told.
            thread::sleep(Duration::from_millis(300));
            text(&server, &id, "taken back");
        }
        "say" => {
            server.notify(&method, &params);
            text(&server, &id, "said");
        }
        _ => {
            let heard = json!(server.lock().passing.0).to_string();
            text(&server, &id, &heard);
        }
    });
    true
}

fn link(server: &Arc<Server>, id: &str) {
    let one = json!({"mode": "url", "elicitationId": "e-1", "url": "https://example.org/", "message": "?"});
    let error = json!({"code": -32042, "message": "elsewhere", "data": {"elicitations": [one]}});
    server.write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
    let server = server.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        server.notify("notifications/elicitation/complete", r#"{"elicitationId":"e-1"}"#);
    });
}

fn text(server: &Server, id: &str, text: &str) {
    server.answer(id, &json!({"content": [{"type": "text", "text": text}]}).to_string());
}
