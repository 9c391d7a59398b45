//! Laws of the wire for any bytes at all: what the fuzzer holds `Frame`, `shallow` and `Lines` to. serde_json and slow, obvious
//! readers are the judges.

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{DEEPEST, Frame, FrameError, FrameKind, Line, Lines, Span, Splice, max_depth, one_line, shallow};

/// `Frame::parse`, the scanners below it, and edits of what it took.
pub fn envelope(data: &[u8]) {
    let json = std::str::from_utf8(data).ok().filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let deep = depth(data) > max_depth();
    // What looks into messages goes as deep as any limit of them may be.
    let bottomless = depth(data) > DEEPEST;
    assert_eq!(shallow::root(data).is_ok() && std::str::from_utf8(data).is_ok(), json.is_some() && !bottomless);
    match Frame::parse(Bytes::copy_from_slice(data)) {
        Err(FrameError::Utf8 { .. }) => assert!(std::str::from_utf8(data).is_err()),
        Err(FrameError::Json(why)) => {
            assert!(why.at <= data.len());
            assert!(json.is_none() || deep, "refused, and is JSON: {why}");
        }
        Err(FrameError::Envelope { id, .. }) => {
            assert!(json.is_some() && !deep);
            assert!(expected(data).is_none(), "refused, and is a message");
            assert!(id.is_none_or(|id| data.windows(id.len()).any(|part| part == id)));
        }
        Ok(frame) => {
            assert!(json.is_some() && !deep);
            assert_eq!(frame.bytes(), data);
            taken(&frame);
        }
    }
}

fn taken(frame: &Frame) {
    let text = frame.bytes();
    let expected = expected(text).expect("taken, and is no message");
    assert_eq!(frame.kind(), expected.kind);
    assert_eq!(frame.id(), expected.id.as_bytes());
    assert_eq!(frame.id_bytes(), expected.id.as_bytes());
    let place =
        |span: Option<Span>| span.map(|span| std::str::from_utf8(frame.text(span)).expect("cut inside a character"));
    assert_eq!(place(frame.params()), expected.params.as_deref());
    assert_eq!(place(frame.result()), expected.result.as_deref());
    assert_eq!(place(frame.error()), expected.error.as_deref());
    let line = one_line(text.clone());
    assert!(line.len() == text.len() && !line.contains(&b'\n') && Frame::parse(line).is_ok());
    if let Some(id) = frame.id_span() {
        let other = Frame::parse(frame.with_id(b"\"x\"")).expect("still a message");
        assert_eq!((other.id(), other.kind()), (&b"\"x\""[..], frame.kind()));
        assert_eq!(other.with_id(id.of(text)), text);
    }
    for value in [frame.params(), frame.result(), frame.error()].into_iter().flatten() {
        looked_into(text, value);
    }
}

/// One level down, and edits there.
fn looked_into(text: &[u8], value: Span) {
    if let Some(items) = shallow::elements(text, value) {
        let theirs: Vec<&RawValue> = serde_json::from_slice(value.of(text)).expect("an array");
        let ours: Vec<_> = items.iter().map(|item| item.of(text)).collect();
        assert_eq!(ours, theirs.iter().map(|item| item.get().as_bytes()).collect::<Vec<_>>());
    }
    let Some(fields) = shallow::fields(text, value) else {
        assert!(!value.of(text).starts_with(b"{"));
        return;
    };
    let theirs = raw_fields(value.of(text));
    let ours: Vec<_> = fields.iter().map(|field| field.value.of(text)).collect();
    assert_eq!(ours, theirs.iter().map(|(_, value)| value.get().as_bytes()).collect::<Vec<_>>());
    for (field, (key, _)) in fields.iter().zip(&theirs) {
        // Of a lone surrogate the spelling stands for the key.
        let Ok(key) = serde_json::from_str::<String>(key.get()) else { continue };
        assert_eq!(field.key, key);
        let same =
            |other: &&(&RawValue, &RawValue)| serde_json::from_str::<String>(other.0.get()).is_ok_and(|k| k == key);
        let found = shallow::get(text, value, &key);
        if theirs.iter().filter(same).count() > 1 {
            assert!(found.is_err(), "{key:?} stands twice");
        } else {
            assert_eq!(found, Ok(Some(field.value)));
        }
    }
    let added = Splice::new().add_field(text, value, "added", b"[1.10]").apply(text);
    let grown = Span { start: value.start, end: value.end + u32::try_from(added.len() - text.len()).expect("small") };
    assert_eq!(&added[..value.start as usize], &text[..value.start as usize]);
    assert_eq!(&added[grown.end as usize..], &text[value.end as usize..]);
    let with = shallow::fields(&added, grown).expect("an object");
    assert_eq!(with.first().map(|field| (&*field.key, field.value.of(&added))), Some(("added", &b"[1.10]"[..])));
    assert_eq!(with.iter().skip(1).map(|field| field.value.of(&added)).collect::<Vec<_>>(), ours);

    let out = |key: &str| key.bytes().fold(0, u8::wrapping_add) % 2 == 0;
    let mut edits = Splice::new();
    for place in shallow::removals(text, value, out) {
        edits.replace(place, &b""[..]);
    }
    let left = edits.apply(text);
    assert_eq!(&left[..value.start as usize], &text[..value.start as usize]);
    assert!(left.ends_with(&text[value.end as usize..]));
    let left_over = shallow::fields(&left, value).expect("an object");
    let kept: Vec<_> = fields.iter().filter(|field| !out(&field.key)).collect();
    assert_eq!(
        left_over.iter().map(|f| (&*f.key, f.value.of(&left))).collect::<Vec<_>>(),
        kept.iter().map(|f| (&*f.key, f.value.of(text))).collect::<Vec<_>>()
    );
    assert!(serde_json::from_slice::<IgnoredAny>(&left).is_ok());
}

/// The stream cutter. The first byte is the limit, the second says how the rest comes.
pub fn lines(data: &[u8]) {
    let [limit, cuts, stream @ ..] = data else { return };
    let limit = usize::from(*limit) + 1;
    let sizes = [1, usize::from(*cuts) + 1, usize::from(*cuts % 7) + 1, stream.len().max(1)];
    let (want, want_rest) = slow_lines(stream, limit);
    for size in sizes {
        let mut cutter = Lines::new(limit);
        let mut found = Vec::new();
        for chunk in stream.chunks(size) {
            cutter.room().extend_from_slice(chunk);
            found.extend(std::iter::from_fn(|| cutter.next_line()));
        }
        assert_eq!(found, want, "in pieces of {size}");
        assert_eq!(cutter.rest(), want_rest, "in pieces of {size}");
    }
}

/// Line by line, all at once.
fn slow_lines(stream: &[u8], limit: usize) -> (Vec<Line>, Option<Bytes>) {
    let mut found = Vec::new();
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let last = pieces.pop().unwrap_or_default();
    let given_up = |raw: &[u8]| {
        let start = raw[..limit].trim_ascii();
        match start.first() {
            None | Some(b'{' | b'[') => Line::Oversize { id: super::frame::answered_id(start) },
            Some(_) => Line::Noise(Bytes::copy_from_slice(start)),
        }
    };
    for raw in pieces {
        let text = raw.trim_ascii();
        if raw.len() > limit {
            found.push(given_up(raw));
        } else if let Some(first) = text.first() {
            let text = Bytes::copy_from_slice(text);
            found.push(if matches!(first, b'{' | b'[') { Line::Message(text) } else { Line::Noise(text) });
        }
    }
    if last.len() > limit {
        found.push(given_up(last));
        return (found, None);
    }
    let rest = last.trim_ascii();
    (found, (!rest.is_empty()).then(|| Bytes::copy_from_slice(rest)))
}

/// Brackets outside of strings, at most.
fn depth(text: &[u8]) -> u32 {
    let (mut now, mut most, mut string, mut escaped) = (0_u32, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b'{' | b'[' if !string => now += 1,
            b'}' | b']' if !string => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

struct Expected {
    kind: FrameKind,
    id: String,
    params: Option<String>,
    result: Option<String>,
    error: Option<String>,
}

/// What a message is by CONTRACT section 8, read by serde_json. `None`: it is none.
fn expected(text: &[u8]) -> Option<Expected> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let fields = raw_fields(text);
    let one = |name: &str| -> Option<Option<String>> {
        let mut found =
            fields.iter().filter(|(key, _)| serde_json::from_str::<String>(key.get()).is_ok_and(|k| k == name));
        let first = found.next().map(|(_, value)| value.get().to_owned());
        found.next().is_none().then_some(first)
    };
    let (version, id, method) = (one("jsonrpc")?, one("id")?, one("method")?);
    let (params, result, error) = (one("params")?, one("result")?, one("error")?);
    if version.as_deref() != Some("\"2.0\"") || params.as_ref().is_some_and(|params| !params.starts_with(['{', '['])) {
        return None;
    }
    let usable = id.clone().filter(|id| {
        let integer = id.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && !id.contains(['.', 'e', 'E']);
        (id.starts_with('"') && id.len() <= 258) || (integer && id.len() <= 256)
    });
    // A text, and one without lone surrogates.
    let good_method = method.as_ref().is_some_and(|method| serde_json::from_str::<String>(method).is_ok());
    let kind = match (method, &id, &result, &error) {
        (Some(_), None, None, None) if good_method => FrameKind::Notification,
        (Some(_), Some(_), None, None) if good_method && usable.is_some() => FrameKind::Request,
        (None, Some(_), Some(_), None) | (None, _, None, Some(_)) => FrameKind::Response,
        _ => return None,
    };
    Some(Expected { kind, id: usable.unwrap_or_default(), params, result, error })
}

/// Keys and values as they are spelled, in their order.
fn raw_fields(object: &[u8]) -> Vec<(&RawValue, &RawValue)> {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = Vec<(&'de RawValue, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(field) = map.next_entry()? {
                found.push(field);
            }
            Ok(found)
        }
    }
    serde_json::Deserializer::from_slice(object).deserialize_map(Fields).expect("checked before")
}
