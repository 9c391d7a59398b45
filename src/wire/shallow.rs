//! Looking one level into a JSON value, and changing a few places of a text while every other byte stays as it is.

use std::borrow::Cow;

use super::scan::{Malformed, Scanner, Span, unescape};

/// Texts reach these functions after [`super::Frame::parse`] has checked them; the scan below only has to agree.
const DEPTH: u32 = super::DEEPEST;

/// One `key: value` of an object.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    pub key: Cow<'a, str>,
    /// The value, without white space around it.
    pub value: Span,
}

/// The fields of the object at `object`, in order, duplicates included. `None` when it is no object.
/// A key that is no valid Unicode (a lone surrogate) is given as its escaped spelling.
pub fn fields(text: &[u8], object: Span) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    let mut scanner = Scanner::at(text, object.start as usize, DEPTH);
    let walk = scanner.object(|scanner, key| {
        let value = scanner.value()?;
        let key = unescape(text, key).unwrap_or_else(|| String::from_utf8_lossy(key.inner.of(text)));
        found.push(Field { key, value });
        Ok(())
    });
    walk.ok().map(|()| found)
}

/// The elements of the array at `array`. `None` when it is no array.
pub fn elements(text: &[u8], array: Span) -> Option<Vec<Span>> {
    let mut found = Vec::new();
    let mut scanner = Scanner::at(text, array.start as usize, DEPTH);
    let walk = scanner.array(|scanner| {
        found.push(scanner.value()?);
        Ok(())
    });
    walk.ok().map(|()| found)
}

/// The same key stands twice in one object, so two readers may understand two things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {0:?} stands twice in one object")]
pub struct DuplicateKey(pub String);

/// The value of `key` in the object at `object`; `Ok(None)` when there is none, or no object.
pub fn get(text: &[u8], object: Span, key: &str) -> Result<Option<Span>, DuplicateKey> {
    let mut found = None;
    let mut twice = false;
    let mut scanner = Scanner::at(text, object.start as usize, DEPTH);
    let walk = scanner.object(|scanner, name| {
        let value = scanner.value()?;
        let same = if name.escaped {
            unescape(text, name).is_some_and(|name| name == key)
        } else {
            name.inner.of(text) == key.as_bytes()
        };
        if same {
            twice |= found.is_some();
            found = Some(value);
        }
        Ok(())
    });
    match walk {
        Ok(()) if twice => Err(DuplicateKey(key.to_owned())),
        Ok(()) => Ok(found),
        Err(Malformed { .. }) => Ok(None),
    }
}

/// [`get`], step by step through nested objects.
pub fn path(text: &[u8], object: Span, keys: &[&str]) -> Result<Option<Span>, DuplicateKey> {
    let mut here = object;
    for key in keys {
        match get(text, here, key)? {
            Some(next) => here = next,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

/// What has to be deleted for the fields that `remove` names to be gone from the object at `object`; the rest stays a valid
/// object, byte for byte.
pub fn removals(text: &[u8], object: Span, remove: impl Fn(&str) -> bool) -> Vec<Span> {
    let fields = fields(text, object).unwrap_or_default();
    let mut deleted = Vec::new();
    // Where the field before ends, and whether one before is kept.
    let (mut before, mut kept) = (object.start + 1, false);
    for (at, field) in fields.iter().enumerate() {
        let end = field.value.end;
        let comma = (at + 1 < fields.len()).then(|| {
            let rest = text.get(end as usize..).unwrap_or_default();
            end + u32::try_from(memchr::memchr(b',', rest).unwrap_or_default()).unwrap_or_default()
        });
        if !remove(&field.key) {
            kept = true;
        } else if kept {
            // With the comma in front of it.
            deleted.push(Span { start: before, end });
        } else {
            // With the comma behind it.
            let start = if at == 0 { before } else { before + 1 };
            deleted.push(Span { start, end: comma.map_or(end, |comma| comma + 1) });
        }
        before = if kept { end } else { comma.unwrap_or(end) };
    }
    deleted
}

/// The string at `value`; `None` when it is no string, or no valid Unicode.
pub fn string(text: &[u8], value: Span) -> Option<Cow<'_, str>> {
    if text.get(value.start as usize) != Some(&b'"') {
        return None;
    }
    let mut scanner = Scanner::at(text, value.start as usize, DEPTH);
    scanner.string().ok().and_then(|found| unescape(text, found))
}

/// The place of the one value that `text` is, white space around it left out.
pub fn root(text: &[u8]) -> Result<Span, Malformed> {
    let mut scanner = Scanner::new(text, DEPTH);
    let span = scanner.value()?;
    scanner.end()?;
    Ok(span)
}

/// A JSON string literal.
pub fn quote(text: &str) -> Vec<u8> {
    // Serialising a str cannot fail.
    serde_json::to_vec(text).unwrap_or_default()
}

/// `"key":value,"key":value`; values raw JSON.
pub fn members(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in fields {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend(quote(key));
        out.push(b':');
        out.extend_from_slice(value);
    }
    out
}

/// Replaces places of a text. Every byte outside of them is copied.
#[derive(Debug, Default)]
pub struct Splice<'a> {
    edits: Vec<(Span, Cow<'a, [u8]>)>,
}

impl<'a> Splice<'a> {
    pub fn new() -> Self {
        Self { edits: Vec::new() }
    }

    pub fn replace(&mut self, place: Span, with: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.edits.push((place, with.into()));
        self
    }

    pub fn insert(&mut self, at: u32, with: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.replace(Span { start: at, end: at }, with)
    }

    /// Puts `key: value` in front of the other fields of the object at `object`.
    pub fn add_field(&mut self, text: &[u8], object: Span, key: &str, value: &[u8]) -> &mut Self {
        self.add_fields(text, object, &[(key, value)])
    }

    /// [`Splice::add_field`] of several, in this order. Once for an object.
    pub fn add_fields(&mut self, text: &[u8], object: Span, added: &[(&str, &[u8])]) -> &mut Self {
        let empty = fields(text, object).is_none_or(|fields| fields.is_empty());
        let mut with = members(added);
        if !empty && !added.is_empty() {
            with.push(b',');
        }
        self.insert(object.start + 1, with)
    }

    /// The new text. Edits must not overlap.
    pub fn apply(&mut self, text: &[u8]) -> Vec<u8> {
        self.edits.sort_by_key(|(place, _)| *place);
        let grown: usize = self.edits.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(text.len() + grown);
        let mut at = 0;
        for (place, with) in &self.edits {
            debug_assert!(place.start as usize >= at, "edits overlap");
            out.extend_from_slice(text.get(at..place.start as usize).unwrap_or_default());
            out.extend_from_slice(with);
            at = place.end as usize;
        }
        out.extend_from_slice(text.get(at..).unwrap_or_default());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_byte_stays() {
        let text = br#" { "a" : 1.10 , "n\u0061me" : "x" , "deep":{"name":2} } "#;
        let object = root(text).unwrap();
        let name = get(text, object, "name").unwrap().unwrap();
        let out = Splice::new().replace(name, quote("y\"z")).apply(text);
        assert_eq!(out, br#" { "a" : 1.10 , "n\u0061me" : "y\"z" , "deep":{"name":2} } "#);
    }

    #[test]
    fn a_key_spelled_in_two_ways_is_a_duplicate() {
        let text = br#"{"name":1,"n\u0061me":2}"#;
        assert_eq!(get(text, root(text).unwrap(), "name"), Err(DuplicateKey("name".into())));
    }

    #[test]
    fn a_field_is_added_to_empty_and_other_objects() {
        for (text, want) in [(&b"{}"[..], &b"{\"k\":1}"[..]), (b"{ \"a\":2}", b"{\"k\":1, \"a\":2}")] {
            assert_eq!(Splice::new().add_field(text, root(text).unwrap(), "k", b"1").apply(text), want);
        }
    }
}
