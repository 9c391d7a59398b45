//! The JSON object in the body of an admin request: fields by name, unknown ones refused, values as raw as they came.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;

use super::{Front, body, negotiate, refusal::Refusal};
use crate::wire::{Span, shallow};

#[derive(Debug)]
pub(super) struct Object {
    text: Bytes,
    fields: Vec<(String, Span)>,
}

impl Object {
    /// The body of a request that changes something: JSON and said to be so, or nothing at all. A page of another site
    /// cannot send the first without asking, and is told by its `Origin` in any case.
    pub async fn receive(headers: &HeaderMap, body: Body, front: &Front, known: &[&str]) -> Result<Self, Refusal> {
        let text = body::read(headers, body, &front.limits(), &front.state.gateway.room)
            .await
            .map_err(|error| Refusal::new(error.status(), "bad_body", error.to_string()))?;
        if !text.is_empty() && !negotiate::sends_json(headers) {
            let message = "a body must come with Content-Type: application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message));
        }
        Self::parse(text, known)
    }

    fn parse(text: Bytes, known: &[&str]) -> Result<Self, Refusal> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { text, fields: Vec::new() });
        }
        std::str::from_utf8(&text).map_err(|_| bad("the body is not UTF-8"))?;
        let root = shallow::root(&text).map_err(|error| bad(format!("the body is not valid JSON: {error}")))?;
        let found = shallow::fields(&text, root).ok_or_else(|| bad("the body is not a JSON object"))?;
        let mut fields: Vec<(String, Span)> = Vec::with_capacity(found.len());
        for field in found {
            if !known.contains(&&*field.key) {
                let taken = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let key: String = field.key.chars().take(100).collect();
                return Err(bad(format!("unknown field \"{key}\"; taken are: {taken}")));
            }
            if fields.iter().any(|(key, _)| *key == field.key) {
                return Err(bad(format!("the field \"{}\" stands twice", field.key)));
            }
            fields.push((field.key.into_owned(), field.value));
        }
        Ok(Self { text, fields })
    }

    /// The value as it came.
    pub fn raw(&self, key: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, place)| place.of(&self.text))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, Refusal> {
        match self.raw(key) {
            None => Ok(default),
            Some(b"true") => Ok(true),
            Some(b"false") => Ok(false),
            Some(_) => Err(bad(format!("\"{key}\" must be true or false"))),
        }
    }

    pub fn string(&self, key: &str) -> Result<Option<String>, Refusal> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        serde_json::from_slice(raw).map(Some).map_err(|_| bad(format!("\"{key}\" must be a string")))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, Refusal> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        serde_json::from_slice(raw).map(Some).map_err(|_| bad(format!("\"{key}\" must be a number")))
    }
}

pub(super) fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Object, String> {
        Object::parse(Bytes::from_static(text.as_bytes()), &["a", "b"]).map_err(|refusal| refusal.message)
    }

    #[test]
    fn values_stay_as_they_came_and_what_is_wrong_is_named() {
        let object = parse(r#" {"a" : {"n":1.10,"n":2} , "b":true} "#).unwrap();
        assert_eq!(object.raw("a"), Some(br#"{"n":1.10,"n":2}"#.as_slice()));
        assert!(object.flag("b", false).unwrap_or(false));
        assert!(object.flag("a", false).is_err_and(|refusal| refusal.message.contains("\"a\"")));
        assert!(parse(" ").is_ok_and(|object| object.fields.is_empty()));
        for (text, want) in [
            (r#"{"c":1}"#, "unknown field \"c\""),
            (r#"{"a":1,"\u0061":2}"#, "stands twice"),
            ("[]", "not a JSON object"),
            ("{", "not valid JSON"),
        ] {
            let message = parse(text).map(drop).unwrap_err();
            assert!(message.contains(want), "{text}: {message}");
        }
    }
}
