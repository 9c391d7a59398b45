//! What providers declare beside what every gateway offers: extensions, tasks, experiments, capabilities of vendors. Merged as
//! raw JSON; of two that declare the same setting otherwise, the first in order of names counts.

use std::borrow::Cow;

use super::Snapshot;
use crate::{
    provider::{Era, Hello},
    wire::{modern::extension, shallow},
};

/// Every gateway has these, whatever its providers have of them.
const ITS_OWN: [&str; 5] = ["tools", "prompts", "resources", "logging", "completions"];
const EXTENSIONS: &str = "extensions";
const TASKS: &str = "tasks";

impl Snapshot {
    /// For clients of one era: a raw JSON object. `None`: no provider that has been seen declares anything more.
    pub fn declared(&self, era: Era) -> Option<Vec<u8>> {
        let catalogues = self.providers.values().filter_map(|provider| provider.catalogue());
        let declared = catalogues.filter_map(|catalogue| passing(&catalogue.hello, era));
        declared.reduce(|all, more| union(&all, &more))
    }
}

/// What of one upstream's capabilities reaches a client of `era` as it is.
fn passing(hello: &Hello, era: Era) -> Option<Vec<u8>> {
    let text = &hello.capabilities;
    // Tasks of the two eras are two things.
    let same_era = hello.era() == era;
    let mut kept: Vec<(Cow<'_, str>, Cow<'_, [u8]>)> = Vec::new();
    for field in shallow::fields(text, shallow::root(text).ok()?)? {
        let value = match &*field.key {
            key if ITS_OWN.contains(&key) => continue,
            TASKS if !(same_era && era == Era::Legacy) => continue,
            EXTENSIONS if !(same_era && era == Era::Modern) => {
                let all = shallow::fields(text, field.value)?.into_iter().filter(|ext| ext.key != extension::TASKS);
                let all: Vec<_> = all.map(|ext| (ext.key, ext.value.of(text))).collect();
                Cow::Owned(object(all.iter().map(|(key, value)| (&**key, *value))))
            }
            _ => Cow::Borrowed(field.value.of(text)),
        };
        kept.push((field.key, value));
    }
    let kept: Vec<_> = kept.into_iter().filter(|(key, value)| key != EXTENSIONS || **value != *b"{}").collect();
    (!kept.is_empty()).then(|| object(kept.iter().map(|(key, value)| (&**key, &**value))))
}

/// The fields of both; what both have and is no object is the first one's.
fn union(one: &[u8], other: &[u8]) -> Vec<u8> {
    let fields = |text| shallow::root(text).ok().and_then(|root| shallow::fields(text, root));
    let (Some(first), Some(second)) = (fields(one), fields(other)) else { return one.to_vec() };
    let mut all: Vec<(&str, Vec<u8>)> = Vec::new();
    for field in &first {
        let mine = field.value.of(one);
        let theirs = second.iter().find(|theirs| theirs.key == field.key);
        all.push((&field.key, theirs.map_or_else(|| mine.to_vec(), |theirs| union(mine, theirs.value.of(other)))));
    }
    for field in second.iter().filter(|field| first.iter().all(|known| known.key != field.key)) {
        all.push((&field.key, field.value.of(other).to_vec()));
    }
    object(all.iter().map(|(key, value)| (*key, value.as_slice())))
}

fn object<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> Vec<u8> {
    let fields: Vec<_> = fields.collect();
    [b"{", shallow::members(&fields).as_slice(), b"}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version: &str, capabilities: &'static str) -> Hello {
        let capabilities = bytes::Bytes::from_static(capabilities.as_bytes());
        Hello { protocol_version: version.into(), capabilities, ..Hello::default() }
    }

    fn passes(hello: &Hello, era: Era) -> Option<String> {
        passing(hello, era).map(|raw| String::from_utf8(raw).unwrap())
    }

    #[test]
    fn tasks_stay_in_their_era_and_everything_else_passes_as_it_is() {
        let legacy =
            hello("2025-11-25", r#"{"tools":{},"tasks":{"list":{}},"x-vendor":{"n":1.50},"extensions":{"a/b":{}}}"#);
        let all = r#"{"tasks":{"list":{}},"x-vendor":{"n":1.50},"extensions":{"a/b":{}}}"#;
        assert_eq!(passes(&legacy, Era::Legacy).as_deref(), Some(all));
        assert_eq!(passes(&legacy, Era::Modern).as_deref(), Some(r#"{"x-vendor":{"n":1.50},"extensions":{"a/b":{}}}"#));
        let modern = hello("2026-07-28", r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
        assert_eq!(passes(&modern, Era::Legacy), None);
        assert!(passes(&modern, Era::Modern).is_some());
        assert_eq!(passes(&hello("2025-11-25", r#"{"tools":{}}"#), Era::Legacy), None);
    }

    #[test]
    fn of_two_the_first_counts_where_they_differ() {
        let united = union(br#"{"a":{"x":1.0,"y":{}},"b":1}"#, br#"{"a":{"x":2,"z":3},"b":{},"c":[ ]}"#);
        assert_eq!(String::from_utf8(united).unwrap(), r#"{"a":{"x":1.0,"y":{},"z":3},"b":1,"c":[ ]}"#);
    }
}
