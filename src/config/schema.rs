//! The JSON Schema (2020-12) of the file, made from the same table of keys that the parser walks.

use serde_json::{Map, Value, json};

use super::{
    keys::{FILE, Key, MAX_SECONDS, SECTIONS, Section, Shape},
    raw::{self, Kind, Node},
    rules::Rule,
    scalar::{self, Plain},
};

/// What `hangar schema` prints. A schema cannot see the machine (commands, files, variables) nor YAML itself (duplicate
/// keys, tags); everything else it refuses as the parser does. A value with `${...}` in it is accepted anywhere.
pub fn schema() -> Value {
    let mut out = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hangar configuration",
    });
    let mut defs = Map::new();
    let about = "A value that comes from the environment or a file: ${VAR}, ${VAR:-default} or ${file:PATH}.";
    defs.insert("reference".into(), json!({"type": "string", "pattern": "\\$\\{", "description": about}));
    for other in SECTIONS.iter().filter(|other| other.id != FILE.id) {
        defs.insert(other.id.into(), section(other));
    }
    if let (Some(out), Value::Object(file)) = (out.as_object_mut(), section(&FILE)) {
        out.extend(file);
        out.insert("$defs".into(), Value::Object(defs));
    }
    out
}

/// A file as a JSON document, the way an editor holds it against the schema: nothing replaced, nothing filled in. `None`:
/// it is not one clean YAML document.
pub fn document(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (root, flaws) = raw::parse(text.strip_prefix('\u{feff}').unwrap_or(text));
    flaws.is_empty().then(|| root.as_ref().map_or(Value::Null, json_of))
}

fn json_of(node: &Node<'_>) -> Value {
    match &node.kind {
        Kind::Bad => Value::Null,
        Kind::List(items) => items.iter().map(json_of).collect(),
        Kind::Map(entries) => entries.iter().map(|entry| (entry.key.to_string(), json_of(&entry.value))).collect(),
        Kind::Scalar { text, plain: false } => json!(text),
        Kind::Scalar { text, plain: true } => match scalar::classify(text) {
            Plain::Null => Value::Null,
            Plain::Flag(flag) => json!(flag),
            Plain::Whole(whole) => i64::try_from(whole).map_or_else(|_| json!(whole as f64), |whole| json!(whole)),
            Plain::Decimal(decimal) if decimal.is_finite() => json!(decimal),
            Plain::Decimal(_) | Plain::Text => json!(text),
        },
    }
}

fn section(section: &Section) -> Value {
    let mut properties = Map::new();
    for key in section.keys {
        for name in std::iter::once(&key.name).chain(key.aliases) {
            properties.insert((*name).into(), property(key, name));
        }
    }
    let mut out = json!({
        "type": "object",
        "description": section.about,
        "properties": properties,
        "additionalProperties": false,
    });
    let rules: Vec<Value> = needs(section).into_iter().chain(modes(section)).collect();
    if !rules.is_empty() {
        out["allOf"] = Value::Array(rules);
    }
    out
}

/// Keys that must be there whatever else is.
fn needs(section: &Section) -> Vec<Value> {
    let always = section.keys.iter().filter(|key| key.need.contains(&""));
    let spelled = |name: &&str| json!({"required": [name]});
    always
        .map(|key| json!({"oneOf": std::iter::once(&key.name).chain(key.aliases).map(spelled).collect::<Vec<_>>()}))
        .collect()
}

/// For each value of the selector: which keys it needs and which belong to another.
fn modes(section: &Section) -> Vec<Value> {
    let Some((selector, default)) = section.selector else { return Vec::new() };
    let words = section.keys.iter().find(|key| key.name == selector).map(|key| &key.shape);
    let Some(Shape::Choice(words)) = words else { return Vec::new() };
    let rule = |word: &super::keys::Word| {
        let spelled: Vec<&str> = std::iter::once(&word.word).chain(word.aliases).copied().collect();
        let mut condition = json!({"properties": {selector: {"enum": spelled}}});
        if word.word != default {
            condition["required"] = json!([selector]);
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for key in section.keys {
            if !key.only.is_empty() && !key.only.contains(&word.word) {
                properties.insert(key.name.into(), Value::Bool(false));
            }
            if key.need.contains(&word.word) {
                required.push(key.name);
                if matches!(key.shape, Shape::List { .. }) {
                    properties.insert(key.name.into(), json!({"type": "array", "minItems": 1}));
                }
            }
        }
        json!({"if": condition, "then": {"required": required, "properties": properties}})
    };
    words.iter().map(rule).collect()
}

fn property(key: &Key, name: &str) -> Value {
    let mut out = match &key.shape {
        Shape::Choice(words) => {
            let names: Vec<&str> =
                words.iter().flat_map(|word| std::iter::once(&word.word).chain(word.aliases)).copied().collect();
            or_reference(json!({"enum": names}))
        }
        shape => value(shape),
    };
    if key.need.contains(&"") && matches!(key.shape, Shape::List { .. }) {
        out["type"] = json!("array");
    }
    let nullable_section = matches!(key.shape, Shape::Fields(_));
    if key.nullable || nullable_section {
        out = json!({"anyOf": [out, {"type": "null"}]});
    }
    if let Some(out) = out.as_object_mut() {
        let about =
            if name == key.name { key.about.to_owned() } else { format!("Another spelling of `{}`.", key.name) };
        out.insert("description".into(), about.into());
        if let Ok(default) = serde_json::from_str::<Value>(key.default) {
            out.insert("default".into(), default);
        }
    }
    out
}

fn value(shape: &Shape) -> Value {
    match shape {
        Shape::Text(rule) => text(rule, json!("string")),
        Shape::Scalar(rule) => text(rule, json!(["string", "number", "boolean"])),
        Shape::Flag => or_reference(json!({"type": "boolean"})),
        Shape::Whole { min, max } => or_reference(json!({"type": "integer", "minimum": min, "maximum": max})),
        Shape::Seconds { min } => or_reference(json!({"type": "number", "minimum": min, "maximum": MAX_SECONDS})),
        Shape::Decimal { min, max } => or_reference(json!({
            "anyOf": [{"const": 0}, {"type": "number", "minimum": min, "maximum": max}],
        })),
        Shape::Memory { min } => or_reference(json!({
            "anyOf": [{"const": 0}, {"type": "integer", "minimum": min}, {"type": "string", "pattern": "^[0-9]+[kKmMgGtT]?[bB]?$"}],
        })),
        Shape::Choice(words) => or_reference(json!({"enum": words.iter().map(|word| word.word).collect::<Vec<_>>()})),
        Shape::List { of, filled: false } => json!({"type": ["array", "null"], "items": value(of)}),
        Shape::List { of, filled: true } => json!({"type": ["array", "null"], "items": value(of), "minItems": 1}),
        Shape::FlagOrNames(rule) => json!({
            "anyOf": [
                {"type": ["boolean", "null"]},
                {"type": "array", "items": text(rule, json!("string"))},
                {"$ref": "#/$defs/reference"},
            ],
        }),
        Shape::Map { keys, of, nullable } => {
            let kind = if *nullable { json!(["object", "null"]) } else { json!("object") };
            let mut names = json!({"pattern": keys.pattern});
            limit(&mut names, keys);
            json!({"type": kind, "propertyNames": names, "additionalProperties": value(of)})
        }
        Shape::Fields(section) => json!({"$ref": format!("#/$defs/{}", section.id)}),
    }
}

fn text(rule: &Rule, kind: Value) -> Value {
    let mut out = json!({"type": kind});
    if !rule.pattern.is_empty() {
        out["pattern"] = json!(rule.pattern);
    }
    limit(&mut out, rule);
    if (rule.holds)("${X}") { out } else { or_reference(out) }
}

fn limit(out: &mut Value, rule: &Rule) {
    if rule.longest > 0 {
        out["maxLength"] = json!(rule.longest);
    }
}

fn or_reference(value: Value) -> Value {
    json!({"anyOf": [value, {"$ref": "#/$defs/reference"}]})
}
