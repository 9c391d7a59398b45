//! Calls that are answered by a question (`input_required`) go on with the member that asked: its name goes into the
//! `requestState` that the client comes back with, and is taken out again on the way in. It may be changed by a client: then it
//! leads to another member, which knows no such state.

use crate::wire::{Frame, Span, Splice, shallow};

const PREFIX: &str = "hangar.member.1.";
const STATE: &str = "requestState";

/// Where a call has to go on.
pub(in crate::registry) struct Pinned {
    pub member: String,
    /// What gives the request the state that the member knows.
    pub edits: Vec<(Span, Vec<u8>)>,
}

/// Whether a `requestState` is one of these.
pub fn is_of_a_member(state: &str) -> bool {
    state.starts_with(PREFIX)
}

impl Pinned {
    pub(in crate::registry) fn of(frame: &Frame) -> Option<Self> {
        let (text, params) = (frame.bytes(), frame.params()?);
        let place = shallow::get(text, params, STATE).ok().flatten()?;
        let state = shallow::string(text, place)?;
        let rest = state.strip_prefix(PREFIX)?;
        let (member, edits) = match rest.split_once('.') {
            Some((member, own)) => (member, vec![(place, shallow::quote(own))]),
            // The member gave none.
            None => {
                let gone = shallow::removals(text, params, |key| key == STATE);
                (rest, gone.into_iter().map(|place| (place, Vec::new())).collect())
            }
        };
        Some(Self { member: member.to_owned(), edits })
    }
}

/// `answer` of `member`, as the client gets it.
pub(in crate::registry) fn wrapped(answer: Frame, member: &str) -> Frame {
    let text = answer.bytes();
    let Some(result) = answer.result().filter(|_| memchr::memmem::find(text, b"input_required").is_some()) else {
        return answer;
    };
    let field = |key: &str| shallow::get(text, result, key).ok().flatten();
    let kind = field("resultType").and_then(|place| shallow::string(text, place));
    if kind.as_deref() != Some("input_required") {
        return answer;
    }
    let mut edits = Splice::new();
    match field(STATE) {
        Some(place) => {
            let Some(own) = shallow::string(text, place) else { return answer };
            edits.replace(place, shallow::quote(&format!("{PREFIX}{member}.{own}")));
        }
        None => {
            edits.add_field(text, result, STATE, &shallow::quote(&format!("{PREFIX}{member}")));
        }
    }
    Frame::parse(edits.apply(text).into()).unwrap_or(answer)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn there_and_back(result: &str) -> (String, String) {
        let answer = Frame::parse(Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#))).unwrap();
        let wrapped = wrapped(answer, "a-b");
        let state = shallow::get(wrapped.bytes(), wrapped.result().unwrap(), STATE).unwrap().unwrap();
        let state = wrapped.text(state).to_vec();
        let request = format!(
            r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"x", "requestState" : {} ,"n":1.0}}}}"#,
            String::from_utf8(state.clone()).unwrap()
        );
        let request = Frame::parse(Bytes::from(request)).unwrap();
        let Pinned { member, edits } = Pinned::of(&request).unwrap();
        assert_eq!(member, "a-b");
        let mut splice = Splice::new();
        for (place, with) in edits {
            splice.replace(place, with);
        }
        (String::from_utf8(state).unwrap(), String::from_utf8(splice.apply(request.bytes())).unwrap())
    }

    #[test]
    fn a_state_comes_back_as_the_member_gave_it() {
        let (state, request) = there_and_back(r#"{"resultType":"input_required","requestState":"x.\"y"}"#);
        assert_eq!(state, r#""hangar.member.1.a-b.x.\"y""#);
        assert!(request.contains(r#"{"name":"x", "requestState" : "x.\"y" ,"n":1.0}"#), "{request}");
        let (state, request) = there_and_back(r#"{"resultType":"input_required","inputRequests":{}}"#);
        assert_eq!(state, r#""hangar.member.1.a-b""#);
        assert!(request.contains(r#"{"name":"x" ,"n":1.0}"#), "{request}");
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for result in [r#"{"content":["input_required"]}"#, r#"{"resultType":"complete","requestState":"x"}"#] {
            let text = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#));
            assert_eq!(wrapped(Frame::parse(text.clone()).unwrap(), "a").bytes(), &text);
        }
        let foreign = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"requestState":"hangar.1.x"}}"#;
        assert!(Pinned::of(&Frame::parse(Bytes::from(foreign)).unwrap()).is_none());
    }
}
