//! Laws of the headers that repeat what a body says: what we send ourselves is accepted, and what is accepted says the same.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::Value;

use super::{mcp_modern, negotiate, param_headers};
use crate::{
    provider::{Mark, head, marks},
    server::modern,
    transport::stamped,
    wire::{Frame, shallow},
};

/// Lines: a tool as it is listed, a request, then headers over those that belong to it (`name: value`; without a colon it is
/// taken out).
pub fn headers(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (tool, body) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let given: Vec<&[u8]> = lines.collect();
    plain_facts(&given);
    let Ok(marks) = marks(tool) else { return };
    let Ok(frame) = Frame::parse(Bytes::copy_from_slice(body)) else { return };
    let named = said(&frame, "name").or_else(|| said(&frame, "uri"));
    let mut headers = stamped(&head(&frame, named.as_deref().unwrap_or_default(), &marks));
    let ours = modern::version(&frame).is_some_and(|version| version == modern::VERSION) && bearable(&frame, &marks);
    if ours {
        let checked = checked(&headers, &frame, &marks);
        assert!(checked.is_ok(), "what we send is refused: {checked:?} {headers:?}");
    }
    for line in given {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        };
        let Ok(name) = HeaderName::from_bytes(name) else { continue };
        match value.map(HeaderValue::from_bytes) {
            Some(Ok(value)) if headers.contains_key(&name) && value.is_empty() => drop(headers.append(name, value)),
            Some(Ok(value)) => drop(headers.insert(name, value)),
            Some(Err(_)) => {}
            None => drop(headers.remove(name)),
        }
    }
    if checked(&headers, &frame, &marks).is_ok() {
        same(&headers, &frame, &marks);
    }
}

fn checked(headers: &HeaderMap, frame: &Frame, marks: &[Mark]) -> Result<(), Bytes> {
    mcp_modern::check(headers, frame, |_| param_headers::agree(marks, headers, frame))
}

/// A method that no header can bear never comes from us: it would not be one that upstreams have.
fn bearable(frame: &Frame, marks: &[Mark]) -> bool {
    let plain = |text: &str| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    let _ = marks;
    plain(frame.method())
        && !frame.method().starts_with("=?")
        // Its name is not looked for by us, and is by the check.
        && !frame.method().starts_with("tasks/")
        // A prompt is named by `name`, a resource by `uri`.
        && (said(frame, "name").is_none() || said(frame, "uri").is_none())
}

fn said(frame: &Frame, key: &str) -> Option<String> {
    let place = shallow::get(frame.bytes(), frame.params()?, key).ok().flatten()?;
    shallow::string(frame.bytes(), place).map(|text| text.into_owned())
}

/// Another reader of both sides.
fn same(headers: &HeaderMap, frame: &Frame, marks: &[Mark]) {
    let Some(body) = without_twins(frame.bytes()) else { return };
    let meta = &body["params"]["_meta"];
    if meta[modern::key::VERSION] != modern::VERSION {
        return;
    }
    assert_eq!(read(headers, "mcp-protocol-version").as_deref(), Some(modern::VERSION));
    assert_eq!(read(headers, "mcp-method").as_deref(), body["method"].as_str());
    let key = match frame.method() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        method if method.starts_with("tasks/") => return,
        _ => return,
    };
    let Some(name) = body["params"][key].as_str() else { return };
    assert_eq!(read(headers, "mcp-name").as_deref(), Some(name));
    if frame.method() != "tools/call" {
        return;
    }
    for mark in marks {
        let value = mark.path.iter().fold(&body["params"]["arguments"], |value, key| &value[key.as_str()]);
        let header = read(headers, &format!("mcp-param-{}", mark.header.to_ascii_lowercase()));
        match value {
            Value::String(text) => assert_eq!(header.as_deref(), Some(text.as_str())),
            Value::Bool(_) | Value::Number(_) => {
                let header = header.and_then(|text| serde_json::from_str::<Value>(&text).ok());
                assert_eq!(header.as_ref(), Some(value));
            }
            _ => assert_eq!(header, None),
        }
    }
}

/// The one value of a header, decoded.
fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { panic!("{name} was accepted twice") };
    let text = std::str::from_utf8(value.as_bytes()).expect("accepted, and is no text").trim();
    let encoded = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    Some(match encoded {
        Some(encoded) => String::from_utf8(BASE64_STANDARD.decode(encoded).expect("base64")).expect("text"),
        None => text.to_owned(),
    })
}

/// `None`: some object has a key twice, and two readers may understand two things, or serde_json cannot hold it.
fn without_twins(text: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let colons = |text: &[u8]| {
        let (mut string, mut escaped, mut count) = (false, false, 0);
        for byte in text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if string => escaped = true,
                b'"' => string = !string,
                b':' if !string => count += 1,
                _ => {}
            }
        }
        count
    };
    (colons(text) == colons(value.to_string().as_bytes())).then_some(value)
}

/// Of any headers at all.
fn plain_facts(lines: &[&[u8]]) {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        for name in ["accept", "content-type", "mcp-session-id", "mcp-protocol-version"] {
            headers.append(name, value.clone());
        }
        if let Ok(text) = value.to_str() {
            let encoded = text.starts_with("=?base64?") && text.ends_with("?=") && text.len() >= 11;
            let decoded = param_headers::decode(text);
            assert!(encoded || decoded.as_deref() == Ok(text));
            let sent = HashMap::from([("A", text)]);
            for (header, value) in sent {
                let head = crate::transport::Head {
                    method: "tools/call".into(),
                    name: Some(value.into()),
                    params: vec![(header.into(), value.into())],
                };
                let stamped = stamped(&head);
                assert_eq!(read(&stamped, "mcp-name").as_deref(), Some(value));
                assert_eq!(read(&stamped, "mcp-param-a").as_deref(), Some(value));
            }
        }
    }
    negotiate::accepts(&headers);
    negotiate::sends_json(&headers);
    let known = negotiate::check_version(&headers).is_ok();
    let modern = negotiate::names_modern_era(&headers);
    assert!(!(known && modern) || headers.is_empty());
    if let Ok(Some(key)) = negotiate::session_key(&headers) {
        let shown = headers.get("mcp-session-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(negotiate::show_key(&key), shown.to_ascii_lowercase());
    }
}
