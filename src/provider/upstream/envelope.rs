//! What a request says about its client, `params._meta`: put there for a modern upstream by whoever's client does not say it
//! itself, taken out for a legacy one, which heard it in the handshake.

use std::borrow::Cow;

use serde_json::json;

use crate::{
    provider::{Caller, Mark},
    transport::Head,
    wire::{Frame, Span, Splice, modern, modern::key, shallow},
};

/// Methods whose one name goes into a header of its own.
const NAMED: [&str; 6] = ["tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/update", "tasks/cancel"];

/// A legacy server heard it in the handshake, from us, and some refuse a request that bears it.
pub(super) fn surplus(frame: &Frame) -> Vec<Span> {
    /// Up to where some spell `\/`.
    const SIGN: &[u8] = b"io.modelcontextprotocol";
    const KEYS: [&str; 4] = [key::VERSION, key::CAPABILITIES, key::CLIENT, key::LOG_LEVEL];
    let Some(params) = frame.params().filter(|params| memchr::memmem::find(frame.text(*params), SIGN).is_some()) else {
        return Vec::new();
    };
    let Ok(Some(meta)) = shallow::get(frame.bytes(), params, "_meta") else { return Vec::new() };
    let mut surplus = shallow::removals(frame.bytes(), meta, |key| KEYS.contains(&key));
    // How a legacy client asks for a task, and gets what a modern one could not read: to be ignored in its era.
    surplus.extend(shallow::removals(frame.bytes(), params, |key| key == "task"));
    surplus
}

/// The edits that let a legacy client's request say what every modern one does: exactly these keys, in front.
pub(super) fn introduce(frame: &Frame, caller: &Caller, edits: &mut Splice<'_>) {
    let client = &caller.client;
    let level = client.log_level().map(shallow::quote);
    let (capabilities, info) = (client.capabilities(), ours());
    let version = shallow::quote(modern::VERSION);
    let mut fields: Vec<(&str, &[u8])> =
        vec![(key::VERSION, &version), (key::CAPABILITIES, &capabilities), (key::CLIENT, info.as_bytes())];
    if let Some(level) = &level {
        fields.push((key::LOG_LEVEL, level));
    }
    let text = frame.bytes();
    let meta = || [b"{", shallow::members(&fields).as_slice(), b"}"].concat();
    match frame.params() {
        None => {
            if let Ok(root) = shallow::root(text) {
                let params = [b"{\"_meta\":", meta().as_slice(), b"}"].concat();
                edits.add_field(text, root, "params", &params);
            }
        }
        Some(params) => match shallow::get(text, params, "_meta") {
            Ok(Some(place)) if shallow::fields(text, place).is_some() => drop(edits.add_fields(text, place, &fields)),
            Ok(Some(place)) => drop(edits.replace(place, meta())),
            // Params that are a list have no place for it; the upstream will say so.
            _ if shallow::fields(text, params).is_none() => {}
            _ => drop(edits.add_field(text, params, "_meta", &meta())),
        },
    }
}

/// `params` (raw, empty: none) of a request of the gateway's own, for a modern upstream.
pub(super) fn own_params(params: &[u8]) -> Vec<u8> {
    let (version, info) = (shallow::quote(modern::VERSION), ours());
    // Tasks are listened for on behalf of clients that know them.
    let capabilities = json!({"extensions": {modern::extension::TASKS: {}}}).to_string();
    let meta: [(&str, &[u8]); 3] =
        [(key::VERSION, &version), (key::CAPABILITIES, capabilities.as_bytes()), (key::CLIENT, info.as_bytes())];
    let meta = [b"{", shallow::members(&meta).as_slice(), b"}"].concat();
    let text = if params.is_empty() { &b"{}"[..] } else { params };
    match shallow::root(text) {
        Ok(root) => Splice::new().add_field(text, root, "_meta", &meta).apply(text),
        Err(_) => text.to_vec(),
    }
}

/// The gateway, as upstreams know it.
fn ours() -> String {
    json!({"name": "hangar", "title": "hangar", "version": env!("CARGO_PKG_VERSION")}).to_string()
}

/// What the headers of a request repeat. `name`: as the upstream calls it; `marks`: of the tool that is called.
pub fn head(frame: &Frame, name: &str, marks: &[Mark]) -> Head {
    let method = frame.method();
    let params = marks.iter().filter_map(|mark| Some((mark.header.as_str().into(), mark.value(frame)?.into())));
    Head { method: method.into(), name: NAMED.contains(&method).then(|| name.into()), params: params.collect() }
}

/// Of a request that names nothing.
pub(super) fn bare_head(method: &str) -> Head {
    Head { method: method.into(), ..Head::default() }
}

/// A notification of a subscription without the mark that only we understand.
pub(super) fn unmarked(frame: &Frame) -> Cow<'_, [u8]> {
    let text = frame.bytes();
    let meta = frame.params().and_then(|params| Some((params, shallow::get(text, params, "_meta").ok().flatten()?)));
    let Some((params, meta)) = meta else { return Cow::Borrowed(text) };
    let alone = shallow::fields(text, meta).is_some_and(|fields| fields.len() == 1);
    let gone = if alone {
        shallow::removals(text, params, |key| key == "_meta")
    } else {
        shallow::removals(text, meta, |name| name == key::SUBSCRIPTION)
    };
    let mut edits = Splice::new();
    for place in gone {
        edits.replace(place, &b""[..]);
    }
    Cow::Owned(edits.apply(text))
}
