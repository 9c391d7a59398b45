//! What a demo tool is: a name, the fields it takes and gives, a pure function. The fields make the schemas that a
//! client sees *and* check its arguments, so the two cannot disagree.

use serde_json::{Map, Value, json};

/// What one argument or one part of a result may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Numbers,
    Integer,
    Text,
}

/// One argument (where `required` says whether it may be left out) or one part of a result.
#[derive(Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
    pub required: bool,
}

pub(super) const fn field(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, about, required: true }
}

pub(super) const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, about, required: false }
}

pub(super) struct Tool {
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub takes: &'static [Field],
    pub gives: &'static [Field],
    /// The same arguments always give the same result. Not so for a clock.
    pub pure: bool,
    /// Arguments are checked before. `Err`: what is wrong with the values, and what to do.
    pub run: fn(&Arguments) -> Result<Value, String>,
}

/// Arguments that fit the fields of their tool. The getters return a neutral value for what is absent; a tool asks only
/// for fields that it declared.
pub(super) struct Arguments(Map<String, Value>);

// === impl Kind ===

impl Kind {
    fn schema(self) -> Value {
        match self {
            Kind::Number => json!({"type": "number"}),
            Kind::Numbers => json!({"type": "array", "items": {"type": "number"}, "minItems": 1}),
            Kind::Integer => json!({"type": "integer"}),
            Kind::Text => json!({"type": "string"}),
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Kind::Number => value.is_number(),
            Kind::Numbers => value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_number)),
            Kind::Integer => value.is_i64(),
            Kind::Text => value.is_string(),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Kind::Number => "a number",
            Kind::Numbers => "a list of at least one number",
            Kind::Integer => "an integer",
            Kind::Text => "a string",
        }
    }
}

// === impl Tool ===

impl Tool {
    /// The tool as `tools/list` shows it.
    pub fn describe(&self) -> Value {
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.about,
            "inputSchema": schema(self.takes, false),
            "outputSchema": schema(self.gives, true),
            "annotations": {
                "title": self.title,
                "readOnlyHint": true,
                "destructiveHint": false,
                "idempotentHint": self.pure,
                "openWorldHint": false,
            },
        })
    }

    /// The tool's `tools/call` result. What is wrong with the arguments is a result too (`isError`), for the model to read.
    pub fn call(&self, arguments: Map<String, Value>) -> Value {
        match self.check(&arguments).and_then(|()| (self.run)(&Arguments(arguments))) {
            Ok(structured) => {
                json!({"content": [{"type": "text", "text": self.in_words(&structured)}],
                    "structuredContent": structured, "isError": false})
            }
            Err(message) => json!({"content": [{"type": "text", "text": message}], "isError": true}),
        }
    }

    /// A lone `result` reads as itself, anything else as JSON.
    fn in_words(&self, structured: &Value) -> String {
        match structured.get("result") {
            Some(Value::String(text)) if self.gives.len() == 1 => text.clone(),
            Some(value) if self.gives.len() == 1 => value.to_string(),
            _ => structured.to_string(),
        }
    }

    fn check(&self, arguments: &Map<String, Value>) -> Result<(), String> {
        let mut wrong = Vec::new();
        for field in self.takes {
            match arguments.get(field.name) {
                None | Some(Value::Null) if field.required => wrong.push(format!("`{}` is missing", field.name)),
                None | Some(Value::Null) => {}
                Some(value) if field.kind.fits(value) => {}
                Some(value) => wrong.push(format!("`{}` is {}, not {}", field.name, noun(value), field.kind.noun())),
            }
        }
        for name in arguments.keys().filter(|name| self.takes.iter().all(|field| field.name != *name)) {
            let near = self.takes.iter().find(|field| strsim::damerau_levenshtein(field.name, name) <= 2);
            let hint = near.map(|field| format!(", did you mean `{}`?", field.name)).unwrap_or_default();
            wrong.push(format!("there is no argument `{}`{hint}", shorten(name)));
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}. {}", self.name, wrong.join("; "), self.usage())) }
    }

    fn usage(&self) -> String {
        let one = |field: &Field| {
            let maybe = if field.required { "" } else { ", optional" };
            format!("`{}` ({}{maybe}): {}", field.name, field.kind.noun(), field.about)
        };
        format!("It takes: {}", self.takes.iter().map(one).collect::<Vec<_>>().join("; "))
    }
}

// === impl Arguments ===

impl Arguments {
    /// A number as it came: integers stay integers.
    pub fn value(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    pub fn number(&self, name: &str) -> f64 {
        self.value(name).as_f64().unwrap_or(f64::NAN)
    }

    pub fn numbers(&self, name: &str) -> impl Iterator<Item = f64> {
        self.value(name).as_array().into_iter().flatten().filter_map(Value::as_f64)
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        self.value(name).as_i64()
    }

    pub fn text(&self, name: &str) -> &str {
        self.optional_text(name).unwrap_or("")
    }

    pub fn optional_text(&self, name: &str) -> Option<&str> {
        self.value(name).as_str()
    }
}

fn schema(fields: &[Field], result: bool) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut schema = field.kind.schema();
            schema["description"] = field.about.into();
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if !result {
        schema["additionalProperties"] = false.into();
    }
    schema
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What a client sent, short enough to repeat in an error.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ECHO: Tool = Tool {
        name: "echo",
        title: "Echo",
        about: "Says it again",
        takes: &[field("text", Kind::Text, "what to say"), optional("times", Kind::Integer, "how often")],
        gives: &[field("result", Kind::Text, "what was said")],
        pure: true,
        run: |args| Ok(json!({"result": args.text("text").repeat(args.integer("times").unwrap_or(1) as usize)})),
    };

    /// Calls by name: `Ok` is the structured content, `Err` the text of an `isError` result.
    pub fn call(tools: &[Tool], name: &str, arguments: Value) -> Result<Value, String> {
        let tool = tools.iter().find(|tool| tool.name == name).unwrap_or_else(|| panic!("no tool {name}"));
        let answer = tool.call(arguments.as_object().expect("an object").clone());
        if answer["isError"] == true {
            return Err(answer["content"][0]["text"].as_str().expect("a text").to_owned());
        }
        Ok(answer["structuredContent"].clone())
    }

    #[test]
    fn a_result_is_text_and_structure() {
        let answer = ECHO.call(json!({"text": "ha", "times": 2}).as_object().expect("an object").clone());
        assert_eq!(
            answer,
            json!({"content": [{"type": "text", "text": "haha"}], "structuredContent": {"result": "haha"}, "isError": false})
        );
    }

    #[test]
    fn all_that_is_wrong_with_the_arguments_is_said_at_once_with_the_way_out() {
        let said = call(&[ECHO], "echo", json!({"texr": 1, "times": "x", "zzzzzzz": null})).expect_err("refused");
        assert_eq!(
            said,
            "echo: `text` is missing; `times` is a string, not an integer; there is no argument `texr`, did you mean `text`?; \
             there is no argument `zzzzzzz`. It takes: `text` (a string): what to say; \
             `times` (an integer, optional): how often"
        );
        assert!(call(&[ECHO], "echo", json!({"text": "a", "times": 1.5})).is_err());
        assert_eq!(call(&[ECHO], "echo", json!({"text": "a", "times": null})), Ok(json!({"result": "a"})));
    }

    #[test]
    fn schemas_say_what_the_check_checks() {
        let input = ECHO.describe()["inputSchema"].clone();
        assert_eq!(input["required"], json!(["text"]));
        assert_eq!(input["additionalProperties"], false);
        assert_eq!(input["properties"]["times"], json!({"type": "integer", "description": "how often"}));
    }
}
