//! What a client declares of itself, as far as it is kept: what it can be asked for, and what upstreams may be told.

use std::borrow::Cow;

use crate::{
    provider::ClientFeature,
    wire::{Span, Splice, modern::extension, shallow},
};

/// Bytes kept of how a client declares one feature.
const LONGEST_DECLARATION: usize = 256;

/// One bit for each feature that is declared.
pub(super) fn features(text: &[u8], capabilities: Span) -> u8 {
    let declared = |key| matches!(shallow::get(text, capabilities, key), Ok(Some(_)));
    FEATURES.iter().map(|(feature, key)| u8::from(declared(key)) << (*feature as u8)).sum()
}

/// The features, and what may be of use beyond the gateway. A feature that is declared at great length is declared in short, an
/// extension not at all: nothing of it could be relied on.
pub(super) fn declared(text: &[u8], capabilities: Span) -> Box<[u8]> {
    let (mut found, mut passed): (Vec<(&str, &[u8])>, Vec<_>) = Default::default();
    for (_, key) in FEATURES {
        if let Ok(Some(place)) = shallow::get(text, capabilities, key) {
            let raw = place.of(text);
            let fits = raw.len() <= LONGEST_DECLARATION && raw.starts_with(b"{");
            found.push((key, if fits { raw } else { b"{}" }));
        }
    }
    for key in PASSED_ON {
        if let Ok(Some(place)) = shallow::get(text, capabilities, key) {
            let raw = without_tasks(place.of(text));
            if raw.len() <= LONGEST_EXTENSIONS && raw.starts_with(b"{") && *raw != *b"{}" {
                passed.push((key, raw));
            }
        }
    }
    found.extend(passed.iter().map(|(key, raw)| (*key, &**raw)));
    match found.as_slice() {
        [] => Box::default(),
        found => [b"{", shallow::members(found).as_slice(), b"}"].concat().into_boxed_slice(),
    }
}

/// What of it an upstream may be told for which nothing has to be routed.
const PASSED_ON: [&str; 2] = ["extensions", "experimental"];
/// Bytes kept of each.
const LONGEST_EXTENSIONS: usize = 512;

/// A client with a session has its era's tasks, and could do nothing with those of the extension.
fn without_tasks(extensions: &[u8]) -> Cow<'_, [u8]> {
    let Ok(root) = shallow::root(extensions) else { return Cow::Borrowed(b"") };
    let mut edits = Splice::new();
    for place in shallow::removals(extensions, root, |key| key == extension::TASKS) {
        edits.replace(place, &b""[..]);
    }
    Cow::Owned(edits.apply(extensions))
}

/// How a client declares each feature.
const FEATURES: [(ClientFeature, &str); 3] = [
    (ClientFeature::Sampling, "sampling"),
    (ClientFeature::Elicitation, "elicitation"),
    (ClientFeature::Roots, "roots"),
];
