//! What clients call things: `<provider>__<tool>`, `hangar://<provider>/<uri>`.

use sha2::{Digest, Sha256};

use crate::wire::hex;

pub const SEPARATOR: &str = "__";
/// Longest name of a listed tool or prompt; what clients take at the least.
pub const MAX_NAME: usize = 64;
/// `_` and eight hex digits.
const SUFFIX: usize = 9;
const SCHEME: &str = "hangar://";

/// `<provider>__<name>`; a longer one is cut and gets a suffix that depends on the whole name alone, so that it is the
/// same tomorrow.
pub fn flat(provider: &str, name: &str) -> String {
    let full = format!("{provider}{SEPARATOR}{name}");
    if full.chars().count() <= MAX_NAME {
        return full;
    }
    let digest = hex::encode(Sha256::digest(full.as_bytes()).get(..4).unwrap_or_default());
    let head: String = full.chars().take(MAX_NAME - SUFFIX).collect();
    format!("{head}_{digest}")
}

/// Provider and own name; provider names hold no separator, so the first one ends the provider.
pub fn split(flat: &str) -> Option<(&str, &str)> {
    flat.split_once(SEPARATOR)
}

/// The upstream's own URI (or template) stands behind the prefix as it is, so a template stays expandable.
pub fn flat_uri(provider: &str, uri: &str) -> String {
    format!("{SCHEME}{provider}/{uri}")
}

pub fn split_uri(uri: &str) -> Option<(&str, &str)> {
    uri.strip_prefix(SCHEME)?.split_once('/')
}

/// Whether `uri` can be an expansion of `template`: each `{...}` stands for any text.
pub fn expands(template: &str, uri: &str) -> bool {
    let mut rest = uri;
    let mut literals = template.split('{').enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, literal)| literal),
    });
    match literals.next().and_then(|first| rest.strip_prefix(first)) {
        Some(after) => rest = after,
        None => return false,
    }
    let literals: Vec<_> = literals.collect();
    let Some((last, middle)) = literals.split_last() else { return rest.is_empty() };
    for literal in middle {
        match rest.find(literal) {
            Some(at) => rest = &rest[at + literal.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_to_64_and_stays_the_same() {
        let name = "x".repeat(80);
        let short = flat("provider", &name);
        assert_eq!(short.chars().count(), 64);
        assert_eq!(short, flat("provider", &name));
        assert_ne!(short, flat("provider", &format!("{name}y")));
        assert_eq!(flat("p", &"y".repeat(61)).len(), 64);
        assert!(!flat("p", &"y".repeat(61)).contains("_y_"));
    }

    #[test]
    fn a_template_knows_its_expansions() {
        for (template, uri, want) in [
            ("test://template/{id}/data", "test://template/7/data", true),
            ("test://template/{id}/data", "test://template/7/date", false),
            ("file:///{+path}", "file:///a/b", true),
            ("a://{x}-{y}", "a://1-2", true),
            ("a://b", "a://b", true),
            ("a://b", "a://bc", false),
        ] {
            assert_eq!(expands(template, uri), want, "{template} {uri}");
        }
    }

    #[test]
    fn uris_go_there_and_back() {
        assert_eq!(split_uri(&flat_uri("files", "file:///a/b")), Some(("files", "file:///a/b")));
    }
}
