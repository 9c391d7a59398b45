//! `${VAR}`, `${VAR:-default}`, `${file:PATH}` and `$${`: one pass over one value; what comes out is never scanned again.

use std::borrow::Cow;

/// Where the values come from. Errors are phrases that name the reference, never its value.
pub(super) trait Values {
    /// `None`: not set.
    fn variable(&mut self, name: &str) -> Result<Option<String>, Fault>;
    /// Goes on from "the variable is not set": where else it was looked for.
    fn elsewhere(&self) -> Option<String> {
        None
    }
    /// The contents without the newline at the end.
    fn file(&mut self, path: &str) -> Result<String, Fault>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: super::Code,
    pub message: String,
    pub help: Option<String>,
}

/// The value and whether anything in it was replaced. Stops at the first fault of the value.
pub(super) fn substitute<'t>(text: &'t str, values: &mut dyn Values) -> Result<(Cow<'t, str>, bool), Fault> {
    if !text.contains("${") {
        return Ok((Cow::Borrowed(text), false));
    }
    let mut out = String::with_capacity(text.len());
    let mut replaced = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let inside = from.get(2..).unwrap_or_default();
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str("${");
            rest = inside;
            continue;
        }
        out.push_str(before);
        let Some((reference, after)) = inside.split_once('}') else {
            return Err(malformed("a `${` is never closed"));
        };
        out.push_str(&resolve(reference, values)?);
        replaced = true;
        rest = after;
    }
    out.push_str(rest);
    Ok((Cow::Owned(out), replaced))
}

fn resolve(reference: &str, values: &mut dyn Values) -> Result<String, Fault> {
    if let Some(path) = reference.strip_prefix("file:") {
        return if path.is_empty() || path.contains(['$', '{', '\0', '\n']) {
            Err(malformed("`${file:...}` needs a plain path"))
        } else {
            values.file(path)
        };
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_name(name) {
        return Err(malformed("between `${` and `}` belongs the name of a variable (letters, digits, `_`)"));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(malformed("a `${...}` cannot stand inside another"));
    }
    match (values.variable(name)?, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Fault {
            code: super::codes::UNSET,
            message: format!("the environment variable {name} is not set{}", values.elsewhere().unwrap_or_default()),
            help: Some(format!("set it, or give a default: ${{{name}:-default}}; for a literal `${{` write `$${{`")),
        }),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn malformed(message: &str) -> Fault {
    let help = "write ${VAR}, ${VAR:-default} or ${file:PATH}; for a literal `${` write `$${`".to_owned();
    Fault { code: super::codes::BAD_REFERENCE, message: message.to_owned(), help: Some(help) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Fixed;

    impl Values for Fixed {
        fn variable(&mut self, name: &str) -> Result<Option<String>, Fault> {
            Ok(match name {
                "A" => Some("a".into()),
                "EMPTY" => Some(String::new()),
                "TRAP" => Some("${A} $${".into()),
                _ => None,
            })
        }

        fn file(&mut self, path: &str) -> Result<String, Fault> {
            Ok(format!("<{path}>"))
        }
    }

    #[test]
    fn every_form() {
        for (text, want) in [
            ("x${A}y", "xay"),
            ("${A}${A}", "aa"),
            ("${NO:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${NO:-}", ""),
            ("${NO:-:-}", ":-"),
            ("${file:./k}", "<./k>"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A $ {A} $", "$A $ {A} $"),
            ("${TRAP}", "${A} $${"),
        ] {
            assert_eq!(substitute(text, &mut Fixed).unwrap().0, want, "{text}");
        }
        for text in ["${", "${A", "${}", "${1}", "${A B}", "${A:+x}", "${NO}", "${file:}", "${X:-${A}}", "${file:${A}}"]
        {
            assert!(substitute(text, &mut Fixed).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_without_references_is_untouched(text in "[^$]*") {
            let (out, replaced) = substitute(&text, &mut Fixed).unwrap();
            prop_assert_eq!(&*out, &*text);
            prop_assert!(!replaced);
        }

        #[test]
        fn an_escaped_text_comes_back(text in ".*") {
            let escaped = text.replace("${", "$${");
            prop_assert_eq!(substitute(&escaped, &mut Fixed).unwrap().0, text);
        }
    }
}
