//! Laws of the wire: what is taken, what is refused, and that nothing else changes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Frame, FrameError> {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn messages_are_told_apart() {
    for (text, kind) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, FrameKind::Request),
        (r#"{"jsonrpc":"2.0","id":"a","method":"x","params":[1]}"#, FrameKind::Request),
        (r#"{"method":"x","jsonrpc":"2.0"}"#, FrameKind::Notification),
        (r#"{"jsonrpc":"2.0","id":184467440737095516160,"result":{}}"#, FrameKind::Response),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#, FrameKind::Response),
    ] {
        assert_eq!(parse(text).unwrap().kind(), kind, "{text}");
    }
}

#[test]
fn what_is_no_message_is_refused_with_the_right_code() {
    for (text, code) in [
        ("", -32700),
        ("{", -32700),
        ("{} {}", -32700),
        ("{\"a\":\"\u{1}\"}", -32700),
        (r#"{"jsonrpc":"2.0","id":01,"method":"x"}"#, -32700),
        ("[]", -32600),
        ("17", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":3}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"x","method":"y"}"#, -32600),
    ] {
        assert_eq!(parse(text).unwrap_err().code(), code, "{text}");
    }
}

#[test]
fn depth_and_id_length_are_limited_exactly() {
    let nested = |n: usize| format!(r#"{{"jsonrpc":"2.0","method":"x","params":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(parse(&nested(max_depth() as usize - 1)).is_ok());
    assert!(matches!(parse(&nested(max_depth() as usize)), Err(FrameError::Json(_))));
    let with_id = |n: usize| format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#, "i".repeat(n));
    assert!(parse(&with_id(256)).is_ok());
    assert!(parse(&with_id(257)).is_err());
}

#[test]
fn the_id_is_kept_as_spelled() {
    for id in ["1", "\"1\"", "-0", "18446744073709551616", r#""\u0061""#, "\"\""] {
        let frame = parse(&format!(r#"{{ "jsonrpc":"2.0", "id" : {id} ,"method":"x"}}"#)).unwrap();
        assert_eq!(frame.id(), id.as_bytes());
        let changed = Frame::parse(frame.with_id(b"42")).unwrap();
        assert_eq!(changed.with_id(id.as_bytes()), frame.bytes());
    }
}

#[test]
fn the_answered_id_is_seen_in_a_text_that_is_cut_off() {
    for (start, id) in [
        (r#"{"jsonrpc":"2.0","id":17,"result":{"content":[{"te"#, Some(17)),
        (r#"{"id":3,"jsonrpc":"2.0","result":"#, Some(3)),
        (r#"{"jsonrpc":"2.0","result":{"content":["xxxx"#, None),
        (r#"{"jsonrpc":"2.0","method":"x","id":17,"params":{"content":[{"te"#, None),
    ] {
        assert_eq!(super::frame::answered_id(start.as_bytes()), id, "{start}");
    }
}

/// JSON text with odd spellings: numbers no machine type holds, any Unicode, escapes, duplicate keys, white space.
fn json_text() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
        Just("1.10".to_owned()),
        Just("-0".to_owned())
    ];
    let string = prop_oneof![
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        Just(r#""\u0041\/\ud83d\ude00""#.to_owned()),
        Just(r#""\udc00 lone""#.to_owned()),
    ];
    let space = prop_oneof![Just(""), Just(" "), Just("\t \n")];
    let leaf = prop_oneof![number, string.clone(), Just("true".into()), Just("false".into()), Just("null".into())];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let field = (string.clone(), space.clone(), inner.clone());
        prop_oneof![
            (prop::collection::vec((space.clone(), inner), 0..6)).prop_map(|items| {
                let items: Vec<_> = items.iter().map(|(space, item)| format!("{space}{item}{space}")).collect();
                format!("[{}]", items.join(","))
            }),
            prop::collection::vec(field, 0..6).prop_map(|fields| {
                let fields: Vec<_> =
                    fields.iter().map(|(key, space, value)| format!("{space}{key}{space}:{space}{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    /// The scanner takes exactly what serde_json takes.
    #[test]
    fn agrees_with_serde_json(text in json_text(), cut in any::<prop::sample::Index>(), junk in any::<u8>()) {
        let mut bytes = text.into_bytes();
        prop_assert!(shallow::root(&bytes).is_ok());
        let at = cut.index(bytes.len());
        bytes[at] = junk;
        if std::str::from_utf8(&bytes).is_ok() {
            let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(shallow::root(&bytes).is_ok(), theirs, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    /// Bytes in = bytes out: a change and its inverse give the very text back.
    #[test]
    fn an_edit_and_its_inverse_change_nothing(value in json_text(), extra in json_text()) {
        let text = format!(r#"{{"jsonrpc":"2.0","x":{extra},"id":7,"method":"tools/call","params":{{"a":{value},"name":"n"}}}}"#);
        let frame = parse(&text).unwrap();
        let name = shallow::get(frame.bytes(), frame.params().unwrap(), "name").unwrap().unwrap();
        let there = Splice::new().replace(name, shallow::quote("other")).apply(frame.bytes());
        let frame = Frame::parse(Frame::parse(there.into()).unwrap().with_id(b"\"abc\"")).unwrap();
        let name = shallow::get(frame.bytes(), frame.params().unwrap(), "name").unwrap().unwrap();
        let back = Splice::new().replace(name, shallow::quote("n")).replace(frame.id_span().unwrap(), b"7".as_slice()).apply(frame.bytes());
        prop_assert_eq!(back, text.as_bytes());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::parse(bytes.into());
    }

    /// Fields that are taken out are gone, and the others are what they were, byte for byte and in their order.
    #[test]
    fn removals_leave_the_other_fields_alone(
        fields in prop::collection::vec((any::<bool>(), prop_oneof![Just(""), Just(" "), Just("\n ")], json_text()), 0..7),
    ) {
        let entry = |at: usize, (out, space, value): &(bool, &str, String)| {
            format!("{space}\"{}{at}\"{space}:{space}{value}{space}", if *out { "out" } else { "in" })
        };
        let all: Vec<_> = fields.iter().enumerate().map(|(at, field)| entry(at, field)).collect();
        let text = format!("{{{}}}", all.join(","));
        let object = shallow::root(text.as_bytes()).unwrap();
        let mut edits = Splice::new();
        for place in shallow::removals(text.as_bytes(), object, |key| key.starts_with("out")) {
            edits.replace(place, &b""[..]);
        }
        let left = edits.apply(text.as_bytes());
        let place = shallow::root(&left).unwrap();
        let found: Vec<_> = shallow::fields(&left, place).unwrap().into_iter()
            .map(|field| (field.key.into_owned(), field.value.of(&left).to_vec()))
            .collect();
        let kept = fields.iter().enumerate().filter(|(_, (out, ..))| !out);
        let wanted: Vec<_> = kept.map(|(at, (_, _, value))| (format!("in{at}"), value.trim_matches([' ', '\t', '\n']).as_bytes().to_vec())).collect();
        prop_assert_eq!(found, wanted);
    }
}
