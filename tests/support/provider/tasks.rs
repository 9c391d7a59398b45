//! Tasks of both eras (`--tasks`): the tool `task` is answered by one. Ids are counted, as servers do that believe to have one
//! client.

use std::{
    sync::{Arc, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Server, modern};

pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";
const PAGE: usize = 2;

pub struct Task {
    id: String,
    status: &'static str,
    result: Value,
    /// What the client has answered to the question in it.
    input: Option<Value>,
}

/// Declared beside the other capabilities.
pub fn capabilities(server: &Server, modern: bool, mut all: Value) -> Value {
    if server.options.tasks {
        let ui = json!({"mimeTypes": ["text/html;profile=mcp-app"]});
        all["extensions"] = json!({"io.modelcontextprotocol/ui": ui});
        all["x-vendor"] = json!({"level": 1.50, "of": server.options.name});
        all["experimental"] = json!({(server.options.name.clone()): {}});
        match modern {
            true => all["extensions"][EXTENSION] = json!({}),
            false => all["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}),
        }
    }
    all
}

pub fn tools(server_has_them: bool) -> Vec<Value> {
    let tool = json!({"name": "task", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}});
    Vec::from_iter(server_has_them.then_some(tool))
}

/// A call of `task`, or a request about one. `true`: it is done with.
pub fn serves(server: &Arc<Server>, id: &str, method: &str, params: &Value) -> bool {
    if !server.options.tasks {
        return false;
    }
    let is_modern = params["_meta"].get("io.modelcontextprotocol/protocolVersion").is_some();
    if method == "tools/call" && params["name"] == "task" {
        return begin(server, id, params, is_modern);
    }
    let Some(what) = method.strip_prefix("tasks/") else { return false };
    if let Some(own) = params["taskId"].as_str() {
        server.lock().passing.notification(method, own);
    }
    let known = params["taskId"].as_str().filter(|own| server.lock().tasks.iter().any(|task| task.id == **own));
    match (what, known) {
        ("list", _) => list(server, id, params),
        (_, None) => server.error(id, -32602, "there is no such task"),
        ("get", Some(own)) => server.answer(id, &view(server, own, is_modern).to_string()),
        ("update", Some(own)) => {
            with(server, own, |task| task.input = Some(params["inputResponses"].clone()));
            server.answer(id, r#"{"resultType":"complete"}"#);
        }
        ("cancel", Some(own)) => {
            with(server, own, |task| task.status = "cancelled");
            let acknowledged = if is_modern { json!({"resultType": "complete"}) } else { view(server, own, false) };
            server.answer(id, &acknowledged.to_string());
        }
        ("result", Some(own)) => {
            let (server, id, own) = (server.clone(), id.to_owned(), own.to_owned());
            thread::spawn(move || {
                wait(&server, &own, |task| task.status != "working");
                let mut result = Value::Null;
                with(&server, &own, |task| result = task.result.clone());
                server.answer(&id, &result.to_string());
            });
        }
        _ => return false,
    }
    true
}

fn begin(server: &Arc<Server>, id: &str, params: &Value, is_modern: bool) -> bool {
    let extensions = &params["_meta"][modern::CAPABILITIES]["extensions"];
    let wanted = if is_modern { extensions.get(EXTENSION).is_some() } else { params.get("task").is_some() };
    if !wanted {
        server.answer(
            id,
            &json!({"content": [{"type": "text", "text": params.get("task").is_some().to_string()}]}).to_string(),
        );
        return true;
    }
    let own = {
        let mut state = server.lock();
        let own = format!("task-{}", state.tasks.len() + 1);
        state.tasks.push(Task { id: own.clone(), status: "working", result: Value::Null, input: None });
        own
    };
    let task = view(server, &own, is_modern);
    match is_modern {
        true => {
            let mut created = task;
            created["resultType"] = json!("task");
            server.answer(id, &created.to_string());
        }
        false => server.answer(id, &json!({"task": task, "x-more": 1.50}).to_string()),
    }
    let (server, params) = (server.clone(), params.clone());
    thread::spawn(move || work(&server, &own, &params, is_modern));
    true
}

fn work(server: &Arc<Server>, own: &str, params: &Value, is_modern: bool) {
    let arguments = &params["arguments"];
    thread::sleep(Duration::from_millis(arguments["ms"].as_u64().unwrap_or(0)));
    if let Some(token) = params["_meta"].get("progressToken").filter(|_| !is_modern) {
        let told = json!({"progressToken": token, "progress": 1, "_meta": {RELATED: {"taskId": own}}});
        server.notify("notifications/progress", &told.to_string());
    }
    let mut answer = Value::Null;
    if arguments["ask"] == true {
        match is_modern {
            true => {
                wait(server, own, |task| task.input.is_some());
                with(server, own, |task| answer = task.input.clone().unwrap_or_default());
            }
            false => {
                let asked = json!({"message": "?", "_meta": {RELATED: {"taskId": own}}});
                let raw = server.ask("elicitation/create", &asked).unwrap_or_default();
                answer = serde_json::from_str(&raw).unwrap_or_default();
            }
        }
    }
    let text = json!({"nonce": arguments["nonce"], "answer": answer}).to_string();
    let mut result = json!({"content": [{"type": "text", "text": text}]});
    if !is_modern {
        result["_meta"] = json!({RELATED: {"taskId": own}});
    }
    with(server, own, |task| {
        if task.status == "working" {
            (task.status, task.result) = ("completed", result.clone());
        }
    });
    let status = view(server, own, is_modern);
    match is_modern {
        true => drop(server.tell("notifications/tasks", status)),
        false => server.notify("notifications/tasks/status", &status.to_string()),
    }
}

fn with(server: &Server, own: &str, change: impl FnOnce(&mut Task)) {
    if let Some(task) = server.lock().tasks.iter_mut().find(|task| task.id == own) {
        change(task);
    }
    server.changed.notify_all();
}

fn wait(server: &Server, own: &str, until: impl Fn(&Task) -> bool) {
    let mut state = server.lock();
    while !state.tasks.iter().any(|task| task.id == own && until(task)) {
        let short = Duration::from_millis(200);
        state = server.changed.wait_timeout(state, short).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn view(server: &Server, own: &str, is_modern: bool) -> Value {
    let mut view = json!({"taskId": own, "status": "working", "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z"});
    view[if is_modern { "ttlMs" } else { "ttl" }] = json!(60_000);
    with(server, own, |task| {
        view["status"] = json!(task.status);
        if is_modern && task.status == "completed" {
            view["result"] = task.result.clone();
        }
    });
    view
}

fn list(server: &Server, id: &str, params: &Value) {
    let from = params["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let all: Vec<String> = server.lock().tasks.iter().map(|task| task.id.clone()).collect();
    let page: Vec<Value> = all.iter().skip(from).take(PAGE).map(|own| view(server, own, false)).collect();
    let mut result = json!({"tasks": page});
    if from + PAGE < all.len() {
        result["nextCursor"] = json!((from + PAGE).to_string());
    }
    server.answer(id, &result.to_string());
}
