//! What a tool of the gateway answers: structured content, and the same as text.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::wire::{shallow, to_json};

pub struct Outcome {
    /// A JSON object.
    structured: Vec<u8>,
    is_error: bool,
}

impl Outcome {
    pub fn ok(value: &impl Serialize) -> Self {
        Self { structured: to_json(value), is_error: false }
    }

    /// An answer that is a failure, in a shape of its own.
    pub fn failed_with(value: &impl Serialize) -> Self {
        Self { structured: to_json(value), is_error: true }
    }

    /// `{"error": CODE, "message": TEXT, "details": {...}}`
    pub fn error(code: &str, message: impl Into<String>, details: Value) -> Self {
        Self::failed_with(&json!({"error": code, "message": message.into(), "details": details}))
    }

    /// Raw JSON that holds upstream bytes.
    pub fn raw(structured: Vec<u8>, is_error: bool) -> Self {
        Self { structured, is_error }
    }

    /// The CallToolResult.
    pub fn into_result(self) -> Bytes {
        let text = shallow::quote(&String::from_utf8_lossy(&self.structured));
        let flag: &[u8] = if self.is_error { b"true" } else { b"false" };
        let parts: [&[u8]; 7] = [
            b"{\"content\":[{\"type\":\"text\",\"text\":",
            &text,
            b"}],\"structuredContent\":",
            &self.structured,
            b",\"isError\":",
            flag,
            b"}",
        ];
        parts.concat().into()
    }
}
