//! `x-mcp-header` in a tool's input schema: arguments that a call repeats in HTTP headers (`Mcp-Param-*`).

use crate::wire::{Frame, Span, shallow};

const MARK: &str = "x-mcp-header";
/// Deepest schema looked into; the frame that brought it bounds it, too.
const DEEPEST: usize = 32;

/// One argument that has a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// From `arguments` to the value.
    pub path: Vec<String>,
    pub header: String,
}

/// The marks of a tool, as listed. An `Err` says why the whole tool must not be used.
pub fn marks(tool: &[u8]) -> Result<Vec<Mark>, String> {
    if memchr::memmem::find(tool, MARK.as_bytes()).is_none() {
        return Ok(Vec::new());
    }
    let schema = shallow::root(tool).ok().and_then(|root| shallow::get(tool, root, "inputSchema").ok().flatten());
    let Some(schema) = schema else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    object(tool, schema, &mut Vec::new(), &mut found)?;
    for (at, mark) in found.iter().enumerate() {
        if found.iter().take(at).any(|other| other.header.eq_ignore_ascii_case(&mark.header)) {
            return Err(format!("two arguments have the header \"{}\"", mark.header));
        }
    }
    Ok(found)
}

/// A schema on the way from the root through `properties` alone, where marks may stand.
fn object(tool: &[u8], schema: Span, path: &mut Vec<String>, found: &mut Vec<Mark>) -> Result<(), String> {
    for field in shallow::fields(tool, schema).unwrap_or_default() {
        match &*field.key {
            MARK if path.is_empty() => return Err("the schema itself has a header".into()),
            MARK => found.push(Mark { path: path.clone(), header: header(tool, schema, field.value, path)? }),
            "properties" => {
                for property in shallow::fields(tool, field.value).unwrap_or_default() {
                    if path.len() >= DEEPEST {
                        return Err("its schema is too deep".into());
                    }
                    path.push(property.key.into_owned());
                    object(tool, property.value, path, found)?;
                    path.pop();
                }
            }
            // Examples and the like are data, and hold no schema.
            "default" | "const" | "enum" | "examples" => {}
            elsewhere => {
                if has_mark(tool, field.value, DEEPEST) {
                    return Err(format!("a header stands below \"{elsewhere}\""));
                }
            }
        }
    }
    Ok(())
}

fn header(tool: &[u8], schema: Span, value: Span, path: &[String]) -> Result<String, String> {
    let argument = path.join(".");
    let name = shallow::string(tool, value).ok_or_else(|| format!("the header of \"{argument}\" is no text"))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("the header of \"{argument}\" is no name that a header can have"));
    }
    let kind = shallow::get(tool, schema, "type").ok().flatten().and_then(|place| shallow::string(tool, place));
    match kind.as_deref() {
        Some("string" | "integer" | "boolean") => Ok(name.into_owned()),
        _ => Err(format!("\"{argument}\" has a header and is neither text, an integer nor true or false")),
    }
}

/// Whether some object in `value` has the key.
fn has_mark(tool: &[u8], value: Span, depth: usize) -> bool {
    if depth == 0 || memchr::memmem::find(value.of(tool), MARK.as_bytes()).is_none() {
        return false;
    }
    let fields = shallow::fields(tool, value).unwrap_or_default();
    fields.iter().any(|field| field.key == MARK || has_mark(tool, field.value, depth - 1))
        || shallow::elements(tool, value).unwrap_or_default().into_iter().any(|item| has_mark(tool, item, depth - 1))
}

impl Mark {
    /// What a call gives for it, as a header spells it: text, or a number, `true` or `false` as they stand. `None`: nothing.
    pub fn value(&self, call: &Frame) -> Option<String> {
        let text = call.bytes();
        let mut place = shallow::get(text, call.params()?, "arguments").ok().flatten()?;
        for key in &self.path {
            place = shallow::get(text, place, key).ok().flatten()?;
        }
        if let Some(string) = shallow::string(text, place) {
            return Some(string.into_owned());
        }
        let raw = place.of(text);
        let plain = !matches!(raw.first(), Some(b'{' | b'[' | b'"' | b'n') | None);
        plain.then(|| String::from_utf8_lossy(raw).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(properties: &str) -> Result<Vec<(String, String)>, String> {
        let tool = format!(r#"{{"name":"t","inputSchema":{{"type":"object","properties":{properties}}}}}"#);
        marks(tool.as_bytes()).map(|all| all.into_iter().map(|mark| (mark.path.join("."), mark.header)).collect())
    }

    #[test]
    fn the_schema_says_which_arguments_have_headers() {
        let plain = of(r#"{"region":{"type":"string","x-mcp-header":"Region"},"b":{}}"#);
        assert_eq!(plain, Ok(vec![("region".into(), "Region".into())]));
        let nested = of(r#"{"a":{"type":"object","properties":{"b":{"x-mcp-header":"B","type":"integer"}}}}"#);
        assert_eq!(nested, Ok(vec![("a.b".into(), "B".into())]));
        assert_eq!(of(r#"{"x":{"type":"string","default":"x-mcp-header"}}"#), Ok(Vec::new()));
        assert_eq!(marks(br#"{"name":"t"}"#), Ok(Vec::new()));
    }

    #[test]
    fn marks_that_make_a_tool_unusable() {
        for bad in [
            r#"{"a":{"type":"string","x-mcp-header":7}}"#,
            r#"{"a":{"type":"string","x-mcp-header":""}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"a b"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"a\r\nb"}}"#,
            r#"{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#,
            r#"{"a":{"type":"object","x-mcp-header":"A"}}"#,
            r#"{"a":{"type":["string","null"],"x-mcp-header":"A"}}"#,
            r#"{"a":{"type":"number","x-mcp-header":"A"}}"#,
            r#"{"a":{"x-mcp-header":"A"}}"#,
            r#"{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}"#,
            r#"{"a":{"anyOf":[{"type":"string","x-mcp-header":"A"}]}}"#,
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
