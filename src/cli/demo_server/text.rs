//! Text. Works on Unicode characters (code points), never on bytes; results have a ceiling.

use serde_json::{Value, json};

use super::tool::{Arguments, Field, Kind, Tool, field, optional};

/// Longest text that a tool gives, in bytes: `replace` could otherwise turn one message into terabytes.
const MAX_RESULT: usize = 4 * 1024 * 1024;

const TEXT: Field = field("text", Kind::Text, "the text to work on");
const RESULT: &[Field] = &[field("result", Kind::Text, "the changed text")];

const fn tool(
    name: &'static str,
    title: &'static str,
    about: &'static str,
    takes: &'static [Field],
    run: fn(&Arguments) -> Result<Value, String>,
) -> Tool {
    Tool { name, title, about, takes, gives: RESULT, pure: true, run }
}

pub(super) const TOOLS: &[Tool] = &[
    tool("uppercase", "Uppercase", "Turns a text into upper case.", &[TEXT], |args| {
        Ok(json!({"result": args.text("text").to_uppercase()}))
    }),
    tool("lowercase", "Lowercase", "Turns a text into lower case.", &[TEXT], |args| {
        Ok(json!({"result": args.text("text").to_lowercase()}))
    }),
    tool("reverse", "Reverse", "Reverses a text, character by character (Unicode code points).", &[TEXT], |args| {
        Ok(json!({"result": args.text("text").chars().rev().collect::<String>()}))
    }),
    tool(
        "replace",
        "Replace",
        "Replaces a piece of a text wherever it occurs, or the first `count` times.",
        &[
            TEXT,
            field("from", Kind::Text, "what to look for, literally; not empty"),
            field("to", Kind::Text, "what to put in its place"),
            optional("count", Kind::Integer, "at most this many times, from the start (default: all)"),
        ],
        replace,
    ),
    Tool {
        name: "word_count",
        title: "Word count",
        about: "Counts the words (separated by white space), characters and lines of a text.",
        takes: &[TEXT],
        gives: &[
            field("words", Kind::Integer, "pieces between white space"),
            field("characters", Kind::Integer, "Unicode code points"),
            field("lines", Kind::Integer, "lines; a last one without line end counts"),
        ],
        pure: true,
        run: word_count,
    },
];

fn replace(args: &Arguments) -> Result<Value, String> {
    let (text, from, to) = (args.text("text"), args.text("from"), args.text("to"));
    if from.is_empty() {
        return Err("replace: `from` is empty; give the piece of text to look for".into());
    }
    let most = match args.integer("count") {
        None => usize::MAX,
        Some(count) => usize::try_from(count).map_err(|_| format!("replace: `count` is {count}; give 0 or more"))?,
    };
    let found = text.matches(from).take(most).count();
    let size = found.saturating_mul(to.len()).saturating_add(text.len() - found * from.len());
    if size > MAX_RESULT {
        return Err(format!(
            "replace: the result would have {size} bytes, more than {MAX_RESULT}; replace less at once"
        ));
    }
    Ok(json!({"result": text.replacen(from, to, found)}))
}

fn word_count(args: &Arguments) -> Result<Value, String> {
    let text = args.text("text");
    Ok(json!({
        "words": text.split_whitespace().count(),
        "characters": text.chars().count(),
        "lines": text.lines().count(),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tool::tests::call;
    use super::*;

    fn result(name: &str, arguments: Value) -> Value {
        call(TOOLS, name, arguments.clone()).unwrap_or_else(|e| panic!("{name} {arguments}: {e}"))["result"].clone()
    }

    #[test]
    fn characters_not_bytes() {
        assert_eq!(result("uppercase", json!({"text": "straße"})), "STRASSE");
        assert_eq!(result("lowercase", json!({"text": "ÄÖ"})), "äö");
        assert_eq!(result("reverse", json!({"text": "aé日"})), "日éa");
        assert_eq!(
            call(TOOLS, "word_count", json!({"text": "zwei\tWörter \n日本"})),
            Ok(json!({"words": 3, "characters": 15, "lines": 2}))
        );
    }

    #[test]
    fn replace_all_some_or_none() {
        let args = |count: Value| json!({"text": "a-b-c", "from": "-", "to": "+", "count": count});
        assert_eq!(result("replace", args(Value::Null)), "a+b+c");
        assert_eq!(result("replace", args(json!(1))), "a+b-c");
        assert_eq!(result("replace", args(json!(0))), "a-b-c");
        assert_eq!(result("replace", json!({"text": "aaa", "from": "aa", "to": ""})), "a");
        assert!(call(TOOLS, "replace", args(json!(-1))).is_err_and(|e| e.contains("give 0 or more")));
        assert!(
            call(TOOLS, "replace", json!({"text": "a", "from": "", "to": "b"}))
                .is_err_and(|e| e.contains("`from` is empty"))
        );
    }

    #[test]
    fn a_small_message_cannot_become_a_huge_result() {
        let bomb = json!({"text": "a".repeat(1 << 20), "from": "a", "to": "b".repeat(1 << 20)});
        assert!(call(TOOLS, "replace", bomb).is_err_and(|e| e.contains("1099511627776 bytes")));
    }
}
