//! Tools in the manner of public MCP servers (`catalogue.txt`), and what clients ask for (`queries.txt`): for the test provider,
//! which lists them, and for the tests, which know what should be found.
#![allow(dead_code, reason = "each side uses its own part")]

use serde_json::{Map, Value, json};

pub struct Server {
    pub name: &'static str,
    pub about: &'static str,
    /// As `tools/list` shows them.
    pub tools: Vec<Value>,
}

pub struct Query {
    pub text: &'static str,
    /// `server.tool`: one of them is wanted.
    pub wanted: Vec<&'static str>,
}

pub fn servers() -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for line in lines(include_str!("catalogue.txt")) {
        match line.strip_prefix("  ") {
            None => {
                let (name, about) = line.split_once(": ").expect("`name: about`");
                servers.push(Server { name, about, tools: Vec::new() });
            }
            Some(tool) => servers.last_mut().expect("a server").tools.push(tool_of(tool)),
        }
    }
    servers
}

pub fn queries() -> Vec<Query> {
    let query = |line: &'static str| {
        let (text, wanted) = line.split_once(" = ").expect("`query = tools`");
        Query { text, wanted: wanted.split(' ').collect() }
    };
    lines(include_str!("queries.txt")).map(query).collect()
}

/// `SERVER`: its tools. `START+COUNT`: so many of all, beginning again at the end, each with a name of its own.
pub fn chosen(what: &str) -> Vec<Value> {
    let Some((start, count)) = what.split_once('+') else {
        let server = servers().into_iter().find(|server| server.name == what);
        return server.unwrap_or_else(|| panic!("no server {what}")).tools;
    };
    let (start, count): (usize, usize) = (start.parse().expect("a number"), count.parse().expect("a number"));
    let all: Vec<Value> = servers().into_iter().flat_map(|server| server.tools).collect();
    let nth = |n: usize| {
        let mut tool = all[n % all.len()].clone();
        if n >= all.len() {
            tool["name"] = json!(format!("{}_{}", tool["name"].as_str().unwrap(), n / all.len() + 1));
        }
        tool
    };
    (start..start + count).map(nth).collect()
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `name(parameter, optional?): description`
fn tool_of(line: &str) -> Value {
    let (name, rest) = line.split_once('(').expect("parameters");
    let (parameters, description) = rest.split_once("): ").expect("a description");
    let mut properties = Map::new();
    let mut required = Vec::new();
    for parameter in parameters.split(", ").filter(|parameter| !parameter.is_empty()) {
        let key = parameter.trim_end_matches('?');
        if key == parameter {
            required.push(key);
        }
        properties.insert(key.to_owned(), property(key));
    }
    json!({
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "properties": properties, "required": required, "additionalProperties": false},
    })
}

fn property(key: &str) -> Value {
    let about = format!("The {} of this call", key.replace('_', " "));
    match key {
        "page" | "limit" | "count" | "radius" | "head" | "tail" | "days" => {
            json!({"type": "integer", "description": about})
        }
        "draft" | "private" | "force" | "dryRun" | "raw" => json!({"type": "boolean", "description": about}),
        "labels" | "paths" | "files" | "edits" | "fields" | "attendees" => {
            json!({"type": "array", "items": {"type": "string"}, "description": about})
        }
        _ => json!({"type": "string", "description": about}),
    }
}
