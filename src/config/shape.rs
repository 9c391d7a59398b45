//! Holds what was typed against the table of keys: unknown keys, wrong types, missing keys, numbers out of range. Every
//! problem is collected; what is right comes out typed, with `${}` replaced.

use std::{borrow::Cow, time::Duration};

use super::{
    codes,
    fields::{Fields, Item, Text, Value},
    hints,
    keys::{FILE, Key, MAX_SECONDS, PROVIDER, Section, Shape, Word},
    load::Load,
    raw::{At, Entry, Kind, Node, is_null, shown},
    rules::Rule,
    scalar::{self, Plain},
    substitute::substitute,
};

/// The whole file. `None`: it is not even a mapping with providers.
pub(super) fn read_file(load: &mut Load<'_>, root: Option<&Node<'_>>) -> Option<Fields> {
    let help = || Some("a gateway without providers is `providers: {}`".to_owned());
    match root {
        Some(Node { kind: Kind::Bad, .. }) => None,
        None => {
            load.problem(codes::EMPTY_FILE, Some(At { line: 1, column: 1 }), "the file is empty", help());
            None
        }
        Some(node) if null(node) => {
            load.problem(codes::EMPTY_FILE, Some(node.at), "the file is empty", help());
            None
        }
        Some(node) => match section(load, &FILE, node, node.at)? {
            Item { value: Value::Fields(fields), .. } => Some(fields),
            _ => None,
        },
    }
}

/// One provider, as it stands under its name.
pub(super) fn read_provider(load: &mut Load<'_>, root: Option<&Node<'_>>) -> Option<Fields> {
    match root {
        Some(Node { kind: Kind::Bad, .. }) => None,
        Some(node) if !null(node) => match section(load, &PROVIDER, node, node.at)? {
            Item { value: Value::Fields(fields), .. } => Some(fields),
            _ => None,
        },
        _ => {
            let at = root.map_or(At { line: 1, column: 1 }, |node| node.at);
            load.problem(codes::EMPTY_FILE, Some(at), "the file is empty", None);
            None
        }
    }
}

fn null(node: &Node<'_>) -> bool {
    matches!(&node.kind, Kind::Scalar { text, plain: true } if is_null(text))
}

/// `owner`: the place of the key whose value it is.
fn section(load: &mut Load<'_>, section: &'static Section, node: &Node<'_>, owner: At) -> Option<Item> {
    let Kind::Map(entries) = &node.kind else {
        wrong_type(load, "a mapping", node);
        return None;
    };
    let mut fields = Fields { at: node.at, items: Vec::with_capacity(entries.len()) };
    let chosen = selected(load, section, entries);
    // Keys that are there, and keys that were meant by a slip of the pen: neither is missing.
    let mut seen: Vec<&'static str> = Vec::with_capacity(entries.len());
    let mut slips: Vec<&'static str> = Vec::new();
    for entry in entries.iter() {
        let mark = load.enter(&entry.key);
        match known(section, &entry.key) {
            None => slips.extend(unknown(load, section, entry)),
            Some((key, spelled)) if allowed(load, section, key, chosen, entry, entries) => {
                if !entry.again && seen.contains(&key.name) {
                    both_spellings(load, key, entry);
                } else if let Some(item) = keyed(load, section, key, entry)
                    && !entry.again
                {
                    fields.items.push((key, spelled, item));
                }
                if !absent(key, &entry.value) {
                    seen.push(key.name);
                }
            }
            // A key of another mode without any mode: the mode is what was forgotten.
            Some(_) if !says(section, entries) => slips.extend(section.keys.iter().map(|key| key.name)),
            Some(_) => {}
        }
        load.leave(mark);
    }
    for key in section.keys {
        let needed = key.need.iter().any(|need| need.is_empty() || chosen == Some(*need));
        if needed && !seen.contains(&key.name) && !slips.contains(&key.name) {
            missing(load, section, key, chosen, entries, owner);
        }
    }
    Some(Item { at: node.at, value: Value::Fields(fields) })
}

/// Whether the selector is there.
fn says(section: &Section, entries: &[Entry<'_>]) -> bool {
    section.selector.is_none_or(|(name, _)| entries.iter().any(|entry| entry.key == name))
}

fn both_spellings(load: &mut Load<'_>, key: &Key, entry: &Entry<'_>) {
    let other = key.aliases.first().copied().unwrap_or_default();
    let message = format!("`{}` and `{other}` are the same key; only one of them may be there", key.name);
    load.problem(codes::BOTH_SPELLINGS, Some(entry.at), message, None);
}

/// Whether the value says nothing although it is allowed to stand there.
fn absent(key: &Key, node: &Node<'_>) -> bool {
    match (&key.shape, &node.kind) {
        // An empty one that has to be filled is reported where it stands.
        (Shape::List { filled: false, .. } | Shape::FlagOrNames(_), Kind::List(items)) => items.is_empty(),
        (Shape::List { .. }, _) => null(node),
        _ => false,
    }
}

/// The value of the selector, in its first spelling. `None`: it cannot be told; that is reported where it stands.
fn selected(load: &mut Load<'_>, section: &Section, entries: &[Entry<'_>]) -> Option<&'static str> {
    let (name, default) = section.selector?;
    let Some(entry) = entries.iter().find(|entry| entry.key == name) else { return Some(default) };
    let key = section.keys.iter().find(|key| key.name == name)?;
    match (&key.shape, &entry.value.kind) {
        (Shape::Choice(words), Kind::Scalar { text, .. }) => find_word(words, substitute(text, load).ok()?.0.trim()),
        _ => None,
    }
}

/// The key, and how it is spelled here.
fn known(section: &'static Section, typed: &str) -> Option<(&'static Key, &'static str)> {
    section.keys.iter().find_map(|key| {
        let mut spellings = std::iter::once(&key.name).chain(key.aliases);
        spellings.find(|name| **name == typed).map(|spelled| (key, *spelled))
    })
}

/// Reports an unknown key; gives the key that was probably meant.
fn unknown(load: &mut Load<'_>, section: &Section, entry: &Entry<'_>) -> Option<&'static str> {
    if load.refuse_later(section.id, &entry.key, "", entry.at) {
        return None;
    }
    let meant = hints::meant(section, &entry.key);
    let help = match meant {
        Some(name) if entry.key.contains(':') => {
            Some(format!("did you mean `{name}: ...`? A blank belongs behind the colon"))
        }
        Some(name) => Some(format!("did you mean `{name}`?")),
        None => hints::unknown(section, &entry.key),
    };
    load.problem(codes::UNKNOWN_KEY, Some(entry.at), "unknown key", help);
    // Of an alias, the key itself.
    meant
        .and_then(|name| section.keys.iter().find(|key| key.name == name || key.aliases.contains(&name)))
        .map(|key| key.name)
}

fn allowed(
    load: &mut Load<'_>,
    section: &Section,
    key: &Key,
    chosen: Option<&str>,
    entry: &Entry<'_>,
    all: &[Entry<'_>],
) -> bool {
    let (Some((selector, _)), Some(chosen)) = (section.selector, chosen) else { return true };
    if key.only.is_empty() || key.only.contains(&chosen) {
        return true;
    }
    let owners = key.only.iter().map(|only| format!("`{selector}: {only}`")).collect::<Vec<_>>().join(" and ");
    let message = format!("this key belongs to {owners}, but here it is `{selector}: {chosen}`");
    let first = key.only.first().copied().unwrap_or_default();
    let help = (!says(section, all)).then(|| format!("add `{selector}: {first}`"));
    load.problem(codes::OTHER_MODE, Some(entry.at), message, help);
    false
}

fn missing(load: &mut Load<'_>, section: &Section, key: &Key, chosen: Option<&str>, entries: &[Entry<'_>], at: At) {
    let there = entries.iter().find(|entry| entry.key == key.name);
    let message = match (section.selector, chosen) {
        (Some((selector, _)), Some(chosen)) => format!("`{selector}: {chosen}` needs `{}`", key.name),
        _ => format!("`{}` is missing", key.name),
    };
    let help = match key.name {
        "command" => {
            Some("for example `command: [python, -m, my_server]`; for a server elsewhere add `mode: remote`".to_owned())
        }
        "providers" => Some("a gateway without providers is `providers: {}`".to_owned()),
        "members" => Some("for example `members: [{id: a}, {id: b}]`".to_owned()),
        _ => None,
    };
    load.problem_of(key.name, codes::MISSING_KEY, there.map_or(at, |entry| entry.at), message, help);
}

fn keyed(load: &mut Load<'_>, section: &Section, key: &'static Key, entry: &Entry<'_>) -> Option<Item> {
    let node = &entry.value;
    if null(node) {
        let nullable = key.nullable
            || match &key.shape {
                Shape::Map { nullable, .. } => *nullable,
                Shape::List { .. } | Shape::Fields(_) | Shape::FlagOrNames(_) => true,
                _ => false,
            };
        if !nullable {
            let help = match key.name {
                "providers" => "a gateway without providers is `providers: {}`".to_owned(),
                _ => format!("give it {}, or leave the key out", key.shape.wanted()),
            };
            load.problem(codes::NO_VALUE, Some(entry.at), "the key has no value", Some(help));
        }
        return None;
    }
    if let Shape::Choice(words) = &key.shape {
        let value = choice(load, section, key, words, node)?;
        return Some(Item { at: node.at, value });
    }
    shaped(load, &key.shape, node, entry.at)
}

fn shaped(load: &mut Load<'_>, shape: &'static Shape, node: &Node<'_>, owner: At) -> Option<Item> {
    let at = node.at;
    let value = match (shape, &node.kind) {
        (_, Kind::Bad) => return None,
        (Shape::Fields(inner), _) => return section(load, inner, node, owner),
        (Shape::Map { keys, of, .. }, Kind::Map(entries)) => Value::Map(map(load, keys, of, entries)),
        (Shape::List { of, filled }, Kind::List(items)) => {
            if *filled && items.is_empty() {
                let (message, help) = match of {
                    Shape::Fields(_) => ("the list is empty", "name at least one"),
                    _ => (
                        "the list is empty, which could mean all or nothing",
                        "leave the key out to allow all, or write what is allowed",
                    ),
                };
                load.problem(codes::NO_VALUE, Some(at), message, Some(help.to_owned()));
                return None;
            }
            Value::List(list(load, of, items))
        }
        (Shape::FlagOrNames(rule), Kind::List(items)) => Value::List(names(load, rule, items)),
        (Shape::List { .. } | Shape::Map { .. }, _) | (_, Kind::List(_) | Kind::Map(_)) => {
            wrong_type(load, shape.wanted(), node);
            return None;
        }
        (_, Kind::Scalar { text, plain }) => scalar(load, shape, text, *plain, node)?,
    };
    Some(Item { at, value })
}

fn list(load: &mut Load<'_>, of: &'static Shape, items: &[Node<'_>]) -> Vec<Item> {
    let mut out = Vec::with_capacity(items.len());
    for (index, node) in items.iter().enumerate() {
        let mark = load.enter_item(index);
        let bad = Item { at: node.at, value: Value::Bad };
        out.push(shaped(load, of, node, node.at).unwrap_or(bad));
        load.leave(mark);
    }
    out
}

fn names(load: &mut Load<'_>, rule: &'static Rule, items: &[Node<'_>]) -> Vec<Item> {
    let mut out = Vec::with_capacity(items.len());
    for (index, node) in items.iter().enumerate() {
        let mark = load.enter_item(index);
        match &node.kind {
            Kind::Scalar { text, plain } if !plain || scalar::classify(text) == Plain::Text => {
                let text = text_value(load, rule, text, node.at);
                out.extend(text.map(|text| Item { at: node.at, value: Value::Text(text) }));
            }
            _ => wrong_type(load, "text", node),
        }
        load.leave(mark);
    }
    out
}

fn map(load: &mut Load<'_>, keys: &'static Rule, of: &'static Shape, entries: &[Entry<'_>]) -> Vec<(String, At, Item)> {
    let mut out = Vec::with_capacity(entries.len());
    for entry in entries {
        let mark = load.enter(&entry.key);
        let good = (keys.holds)(&entry.key);
        if !good {
            load.problem(keys.code, Some(entry.at), format!("the name {}", keys.must), None);
        }
        let item = if null(&entry.value) {
            let help = match of {
                Shape::Fields(section) if section.id == "group" => "a group needs at least `members`",
                Shape::Fields(_) => {
                    "a provider needs at least a `command`; take it out of service with `enabled: false`"
                }
                _ => "for an empty text write \"\"; mind the space after the colon",
            };
            load.problem(codes::NO_VALUE, Some(entry.at), "the key has no value", Some(help.to_owned()));
            None
        } else {
            shaped(load, of, &entry.value, entry.at)
        };
        if let Some(item) = item.filter(|_| good && !entry.again) {
            out.push((entry.key.clone().into_owned(), entry.at, item));
        }
        load.leave(mark);
    }
    out
}

/// Replaces `${}` in a scalar. `None`: reported. The flag: something was replaced.
fn replaced<'t>(load: &mut Load<'_>, text: &'t str, at: At) -> Option<(Cow<'t, str>, bool)> {
    match substitute(text, load) {
        Ok(done) => Some(done),
        Err(fault) => {
            load.problem(fault.code, Some(at), fault.message, fault.help);
            None
        }
    }
}

fn text_value(load: &mut Load<'_>, rule: &Rule, text: &str, at: At) -> Option<Text> {
    let (text, replaced) = replaced(load, text, at)?;
    let long = rule.longest > 0 && text.chars().count() > rule.longest;
    if long || !(rule.holds)(&text) {
        let what = if replaced { "what `${...}` gives here " } else { "the text " };
        let must =
            if long { format!("must not be longer than {} characters", rule.longest) } else { rule.must.to_owned() };
        load.problem(rule.code, Some(at), format!("{what}{must}"), None);
        return None;
    }
    Some(Text { text: text.into_owned(), typed: !replaced })
}

fn scalar(load: &mut Load<'_>, shape: &'static Shape, text: &str, plain: bool, node: &Node<'_>) -> Option<Value> {
    let typed = if plain { scalar::classify(text) } else { Plain::Text };
    match (shape, typed) {
        (Shape::Text(rule), Plain::Text)
        | (Shape::Scalar(rule), Plain::Text | Plain::Flag(_) | Plain::Whole(_) | Plain::Decimal(_)) => {
            return text_value(load, rule, text, node.at).map(Value::Text);
        }
        (Shape::Text(_) | Shape::Scalar(_), _) | (_, Plain::Null) => {
            wrong_type(load, shape.wanted(), node);
            return None;
        }
        _ => {}
    }
    let (text, replaced) = replaced(load, text, node.at)?;
    // A number that comes out of `${}` is a number, however the reference was quoted.
    let meant = if replaced { scalar::classify(text.trim()) } else { typed };
    let value = match (shape, meant) {
        (Shape::Flag | Shape::FlagOrNames(_), Plain::Flag(flag)) => Some(Value::Flag(flag)),
        (Shape::Whole { .. } | Shape::Seconds { .. } | Shape::Decimal { .. }, Plain::Whole(_) | Plain::Decimal(_)) => {
            return number(load, shape, meant, node.at);
        }
        (Shape::Memory { min }, Plain::Whole(_) | Plain::Decimal(_) | Plain::Text) => {
            return memory(load, *min, text.trim(), node.at).map(Value::Whole);
        }
        _ => None,
    };
    if value.is_none() && replaced {
        let message = format!("what `${{...}}` gives here is not {}", shape.wanted());
        load.problem(codes::WRONG_TYPE, Some(node.at), message, None);
    } else if value.is_none() {
        wrong_type(load, shape.wanted(), node);
    }
    value
}

fn number(load: &mut Load<'_>, shape: &Shape, number: Plain, at: At) -> Option<Value> {
    let value = match number {
        Plain::Whole(whole) => whole as f64,
        Plain::Decimal(decimal) => decimal,
        _ => f64::NAN,
    };
    let (min, max) = match shape {
        Shape::Whole { min, max } => (*min as f64, *max as f64),
        Shape::Seconds { min } => (*min, MAX_SECONDS),
        Shape::Decimal { min, max } => (*min, *max),
        _ => (f64::MIN, f64::MAX),
    };
    let or_zero = matches!(shape, Shape::Decimal { .. });
    if !(value >= min && value <= max || or_zero && value == 0.0) {
        let or_zero = if or_zero { ", or 0" } else { "" };
        let message = format!("the number must be at least {min} and at most {max}{or_zero}");
        load.problem(codes::BAD_NUMBER, Some(at), message, None);
        return None;
    }
    match shape {
        Shape::Whole { .. } if value.fract() != 0.0 => {
            load.problem(codes::WRONG_TYPE, Some(at), "expected a whole number, found a decimal", None);
            None
        }
        Shape::Whole { .. } => Some(Value::Whole(value as u64)),
        Shape::Seconds { .. } => Duration::try_from_secs_f64(value).ok().map(Value::Seconds),
        _ => Some(Value::Decimal(value)),
    }
}

fn memory(load: &mut Load<'_>, min: u64, text: &str, at: At) -> Option<u64> {
    let bytes = scalar::memory(text).filter(|bytes| *bytes == 0 || (min..1 << 60).contains(bytes));
    if bytes.is_none() {
        let least = scalar::shown_memory(min);
        let message = format!("must be bytes or a number with `k`, `m`, `g` or `t`, and at least `{least}`, or 0");
        load.problem(codes::MEMORY, Some(at), message, Some("for example `512m` or `2g`".to_owned()));
    }
    bytes
}

fn find_word(words: &'static [Word], text: &str) -> Option<&'static str> {
    words.iter().find(|word| word.word == text || word.aliases.contains(&text)).map(|word| word.word)
}

fn choice(load: &mut Load<'_>, section: &Section, key: &Key, words: &'static [Word], node: &Node<'_>) -> Option<Value> {
    let text = match &node.kind {
        Kind::Bad => return None,
        Kind::Scalar { text, .. } => text,
        _ => {
            wrong_type(load, "one word", node);
            return None;
        }
    };
    let (text, replaced) = replaced(load, text, node.at)?;
    let text = if replaced { text.trim() } else { &*text };
    let found = find_word(words, text);
    if load.refuse_later(section.id, key.name, found.unwrap_or(text), node.at) {
        return None;
    }
    if found.is_none() {
        let names: Vec<&str> =
            words.iter().map(|w| w.word).filter(|w| super::keys::later(section.id, key.name, w).is_none()).collect();
        let close = hints::nearest(text, names.iter().copied()).filter(|_| !replaced);
        let what = if replaced { "what `${...}` gives here".to_owned() } else { format!("\"{}\"", shown(text)) };
        let help = match close {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("accepted: {}", names.join(", ")),
        };
        load.problem(codes::NOT_A_CHOICE, Some(node.at), format!("{what} is not a `{}`", key.name), Some(help));
    }
    found.map(Value::Word)
}

fn wrong_type(load: &mut Load<'_>, wanted: &str, node: &Node<'_>) {
    if let Some((found, help)) = hints::wrong_type(wanted, node) {
        let message = format!("expected {wanted}, found {found}");
        load.problem(codes::WRONG_TYPE, Some(node.at), message, help.map(str::to_owned));
    }
}
