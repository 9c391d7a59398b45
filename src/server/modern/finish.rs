//! Making an answer one of this era: what results must bear and older servers do not say, and errors by their new codes.

use bytes::Bytes;

use super::code::{HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION};
use crate::wire::{Frame, Splice, code, shallow};

/// Methods whose results say how long they may be kept.
const CACHED: [&str; 5] =
    ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];

pub(in crate::server) struct Finished {
    pub bytes: Bytes,
    /// Of an error.
    pub code: Option<i32>,
}

/// `answer`: complete, to a request of `method`. Bytes that need no change are copied.
pub(in crate::server) fn finish(method: &str, answer: Bytes) -> Finished {
    // Ours, or an upstream's that was checked when it came.
    let Ok(frame) = Frame::parse(answer.clone()) else { return Finished { bytes: answer, code: None } };
    if let Some(error) = frame.error() {
        return failed(&frame, error);
    }
    let Some(result) = frame.result() else { return Finished { bytes: answer, code: None } };
    let text = frame.bytes();
    let lacks = |key: &str| matches!(shallow::get(text, result, key), Ok(None));
    let mut fields = Vec::new();
    if lacks("resultType") {
        fields.push(("resultType", &b"\"complete\""[..]));
    }
    if CACHED.contains(&method) {
        if lacks("ttlMs") {
            fields.push(("ttlMs", b"0"));
        }
        if lacks("cacheScope") {
            fields.push(("cacheScope", b"\"private\""));
        }
    }
    if fields.is_empty() || shallow::fields(text, result).is_none() {
        return Finished { bytes: answer, code: None };
    }
    let empty = shallow::fields(text, result).is_some_and(|fields| fields.is_empty());
    let mut added: Vec<u8> = Vec::new();
    for (at, (key, value)) in fields.iter().enumerate() {
        let last = at + 1 == fields.len();
        added.extend(shallow::quote(key));
        added.push(b':');
        added.extend_from_slice(value);
        if !(last && empty) {
            added.push(b',');
        }
    }
    let bytes = Splice::new().insert(result.start + 1, added).apply(text).into();
    Finished { bytes, code: None }
}

fn failed(frame: &Frame, error: crate::wire::Span) -> Finished {
    let text = frame.bytes();
    let place = shallow::get(text, error, "code").ok().flatten();
    let number = place.and_then(|place| std::str::from_utf8(frame.text(place)).ok()?.parse::<i32>().ok());
    match (place, number) {
        (Some(place), Some(code::RESOURCE_NOT_FOUND)) => {
            let invalid = code::INVALID_PARAMS.to_string().into_bytes();
            let bytes = Splice::new().replace(place, invalid).apply(text).into();
            Finished { bytes, code: Some(code::INVALID_PARAMS) }
        }
        (_, code) => Finished { bytes: text.clone(), code },
    }
}

impl Finished {
    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        match self.code {
            Some(code::METHOD_NOT_FOUND) => 404,
            Some(
                HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION | code::INVALID_REQUEST | code::PARSE_ERROR,
            ) => 400,
            _ => 200,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(method: &str, answer: &'static str) -> (String, Option<i32>) {
        let Finished { bytes, code } = finish(method, Bytes::from_static(answer.as_bytes()));
        (String::from_utf8(bytes.to_vec()).unwrap(), code)
    }

    #[test]
    fn results_get_what_they_lack_and_keep_every_other_byte() {
        let (answer, _) = done("tools/call", r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"n":1.10}}"#);
        assert_eq!(answer, r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[],"n":1.10}}"#);
        let whole = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","x":[]}}"#;
        assert_eq!(done("tools/call", whole).0, whole);
        let (list, _) = done("tools/list", r#"{"jsonrpc":"2.0","id":1,"result":{"ttlMs":5,"tools":[]}}"#);
        assert!(list.contains(r#"{"resultType":"complete","cacheScope":"private","ttlMs":5,"tools":[]}"#), "{list}");
        let (empty, _) = done("completion/complete", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert!(empty.ends_with(r#""result":{"resultType":"complete"}}"#), "{empty}");
    }

    #[test]
    fn a_resource_that_is_not_there_has_another_code_here() {
        let (answer, code) =
            done("resources/read", r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"x"}}"#);
        assert_eq!(
            (answer.as_str(), code),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}"#, Some(-32602))
        );
    }
}
