//! What the test provider lists: tools, two resources, a template, a prompt, and their contents.

use serde_json::{Value, json};

use super::{
    modern,
    options::{Era, List, Options},
};

/// Name, description, properties of the input.
const TOOLS: &[(&str, &str)] = &[
    ("echo", "Returns its arguments, byte for byte, as text"),
    ("structured", "Returns its arguments, byte for byte, as structured content"),
    ("pid", "The process id"),
    ("sleep", "{ms}: answers later, unless cancelled"),
    ("exit", "{code} or {signal}: ends without an answer"),
    ("crash_mid_line", "Writes half an answer and ends"),
    ("close_stdout", "Starts a program in its own place that reads no more and writes no more"),
    ("env", "{name}: the value of a variable, or null; without a name all of them"),
    ("fds", "The descriptors that were open at the start, with what they are"),
    ("cwd", "The working directory"),
    ("args", "The command line"),
    ("big", "{bytes}: so much text"),
    ("noise", "{lines}: so many lines of no JSON before the answer"),
    ("stderr", "{bytes}: so much standard error before the answer"),
    ("progress", "{n, ms}: n progress notifications, ms apart"),
    ("log", "{n}: n log messages"),
    ("elicit", "Asks the user and returns the client's answer"),
    ("sample", "Asks the client's model and returns its answer"),
    ("roots", "Asks for the client's roots and returns its answer"),
    ("add_tool", "{name}: adds a tool and says so"),
    ("remove_tool", "{name}: removes an added tool and says so"),
    ("update_resource", "{uri}: says that a resource changed"),
    ("cancelled", "The ids that were cancelled so far"),
    ("log_level", "The level that was set last"),
    ("subscriptions", "The resources that are subscribed to"),
    ("fork_orphan", "{kind}: starts a process that outlives this one"),
    ("stop_reading", "Answers and never reads again"),
    ("bad_ids", "Answers with an unknown id, then twice"),
    ("fail", "{text}: a result with isError"),
    ("rpc_error", "{code, message}: a JSON-RPC error"),
];

/// One page of tools/list; the cursor is an index.
pub fn tools(extra: &[String], options: &Options, params: &Value) -> Result<Value, &'static str> {
    let page_size = options.page_size;
    let own = if options.catalogue.is_empty() { TOOLS } else { &[] };
    let mut all: Vec<Value> = own
        .iter()
        .map(|(name, description)| (*name, *description))
        .chain(extra.iter().map(|name| (name.as_str(), "An extra tool")))
        .map(|(name, description)| {
            json!({
                "name": name,
                "description": description,
                "inputSchema": {"type": "object"},
                "annotations": {"readOnlyHint": name != "exit"},
                "x-unknown-field": {"kept": 0.1}
            })
        })
        .collect();
    if let Some(echo) = all.first_mut() {
        echo["title"] = json!("An echo");
        echo["icons"] = json!([{"src": "data:image/png;base64,AA==", "sizes": ["1x1"], "x": 1.5}]);
        echo["_meta"] = json!({"com.example/k": 1.5});
    }
    all.extend(options.catalogue.iter().cloned());
    all.extend(super::tasks::tools(options.tasks));
    if options.era != Era::Legacy {
        all.extend(modern::marked_tools());
    }
    match options.list {
        List::Normal => {}
        List::Endless => return Ok(json!({"tools": [], "nextCursor": "again"})),
        List::Many(n) => {
            all.extend((0..n).map(|n| json!({"name": format!("many{n}"), "inputSchema": {"type": "object"}})))
        }
        List::Large(bytes) => {
            let schema = json!({"type": "object", "description": "x".repeat(bytes)});
            all.push(json!({"name": "large", "inputSchema": schema}));
        }
    }
    let start = match params.get("cursor") {
        None => 0,
        Some(cursor) => cursor.as_str().and_then(|c| c.parse().ok()).ok_or("unknown cursor")?,
    };
    if page_size == 0 {
        return Ok(json!({"tools": all}));
    }
    let page: Vec<&Value> = all.iter().skip(start).take(page_size).collect();
    let next = start + page_size;
    Ok(if next < all.len() { json!({"tools": page, "nextCursor": next.to_string()}) } else { json!({"tools": page}) })
}

pub fn resources() -> Value {
    json!({"resources": [
        {"uri": "test://one", "name": "one", "mimeType": "text/plain"},
        {"uri": "test://two", "name": "two", "mimeType": "application/octet-stream"}
    ]})
}

pub fn templates() -> Value {
    json!({"resourceTemplates": [{"uriTemplate": "test://items/{id}", "name": "item", "mimeType": "text/plain"}]})
}

pub fn read(params: &Value) -> Option<Value> {
    let uri = params["uri"].as_str()?;
    let content = match uri {
        "test://one" => json!({"uri": uri, "mimeType": "text/plain", "text": "the first"}),
        "test://two" => json!({"uri": uri, "mimeType": "application/octet-stream", "blob": "AAEC"}),
        _ => {
            let id = uri.strip_prefix("test://items/")?;
            json!({"uri": uri, "mimeType": "text/plain", "text": format!("item {id}")})
        }
    };
    Some(json!({"contents": [content]}))
}

pub fn prompts() -> Value {
    json!({"prompts": [{
        "name": "greet",
        "description": "Greets somebody",
        "arguments": [{"name": "who", "required": true}]
    }]})
}

pub fn prompt(params: &Value) -> Option<Value> {
    let who = params["arguments"]["who"].as_str().unwrap_or("nobody");
    (params["name"] == "greet")
        .then(|| json!({"messages": [{"role": "user", "content": {"type": "text", "text": format!("Hello, {who}!")}}]}))
}

pub fn complete(params: &Value) -> Value {
    let typed = params["argument"]["value"].as_str().unwrap_or_default();
    let values: Vec<&str> = ["alice", "bob", "bert"].into_iter().filter(|v| v.starts_with(typed)).collect();
    json!({"completion": {"values": values, "total": values.len(), "hasMore": false}})
}
