//! What to say beside a problem: "did you mean", and the usual slips.

use super::{
    keys::{SECTIONS, Section},
    raw::{Kind, Node},
    scalar::{self, Plain},
};

/// What other tools call our keys.
const FOREIGN: &[(&str, &str)] = &[
    ("cmd", "command"),
    ("disabled", "enabled"),
    ("environment", "env"),
    ("type", "mode"),
    ("uri", "endpoint"),
    ("url", "endpoint"),
    ("workdir", "cwd"),
    ("working_dir", "cwd"),
];

/// The key of `section` that was probably meant.
pub(super) fn meant(section: &Section, typed: &str) -> Option<&'static str> {
    let keys = section.keys.iter();
    let foreign = FOREIGN.iter().find(|(name, _)| *name == typed).map(|(_, ours)| *ours);
    if let Some(ours) = foreign.filter(|ours| section.keys.iter().any(|key| key.name == *ours)) {
        return Some(ours);
    }
    nearest(typed, keys.flat_map(|key| std::iter::once(&key.name).chain(key.aliases)).copied())
}

/// For an unknown key that is no slip of the pen.
pub(super) fn unknown(section: &Section, typed: &str) -> Option<String> {
    let elsewhere = |other: &&&Section| other.id != section.id && other.keys.iter().any(|key| key.name == typed);
    if let Some(other) = SECTIONS.iter().find(elsewhere) {
        return Some(match other.id {
            "file" => "it belongs at the top of the file".to_owned(),
            "provider" => "it belongs into a provider".to_owned(),
            "group" => "it belongs into a group".to_owned(),
            "member" => "it belongs to a member of a group".to_owned(),
            id => format!("it belongs under `{id}`"),
        });
    }
    let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    let shares_a_word = |name: &&str| name.split('_').any(|word| word == typed);
    let similar: Vec<&str> = names.iter().copied().filter(shares_a_word).collect();
    if !similar.is_empty() {
        return Some(format!("similar keys are {}", similar.join(", ")));
    }
    (names.len() <= 12).then(|| format!("the keys here are {}", names.join(", ")))
}

/// The one of `names` that was probably meant.
pub(super) fn nearest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if typed.len() > 64 {
        return None;
    }
    let typed = typed.to_ascii_lowercase().replace(['-', ' '], "_");
    let scored = names.map(|name| (strsim::damerau_levenshtein(&typed, name), name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    let close = distance <= (name.len().max(3) / 3).min(3);
    let begins = typed.len() >= 4 && (name.starts_with(&typed) || typed.starts_with(name) && name.len() >= 4);
    (close || begins).then_some(name)
}

/// What stands there, and the usual reason why something else was expected. `None`: already reported.
pub(super) fn wrong_type(wanted: &str, node: &Node<'_>) -> Option<(&'static str, Option<&'static str>)> {
    let (found, text) = match &node.kind {
        Kind::Bad => return None,
        Kind::List(_) => ("a list", None),
        Kind::Map(_) => ("a mapping", None),
        Kind::Scalar { text, plain } => match scalar::classify(text) {
            _ if !plain => ("text", Some(text)),
            Plain::Null => ("nothing", None),
            Plain::Flag(_) => ("true or false", Some(text)),
            Plain::Whole(_) | Plain::Decimal(_) => ("a number", Some(text)),
            Plain::Text => ("text", Some(text)),
        },
    };
    let text = text.map(|text| text.to_ascii_lowercase()).unwrap_or_default();
    let help = match wanted {
        "text" if matches!(found, "a number" | "true or false") => Some("put it in quotes"),
        "true or false" if matches!(&*text, "yes" | "on" | "y" | "no" | "off" | "n") => {
            Some("in YAML 1.2 `yes`, `no`, `on` and `off` are text; write `true` or `false`")
        }
        "true or false" if matches!(&*text, "true" | "false") => Some("remove the quotes"),
        wanted if wanted.contains("number") && scalar::number(&text).is_some() => Some("remove the quotes"),
        "a list" if !text.is_empty() => Some("write it as a list: [first, second]"),
        "a mapping" if found == "a list" => Some("write `name: value` lines without the dash"),
        "a number of seconds" if text.ends_with(['s', 'm', 'h']) => {
            Some("write the seconds as a number without a unit")
        }
        _ => None,
    };
    Some((found, help))
}
