//! What each end has to see of an exchange, made from its texts by replacing places, and by nothing that a gateway does.

use crate::rig::{CAPABILITIES, Era, Front, Upstream};

const TOKEN: &str = "\"to\\u006ben\"";
/// Stands for the number that the gateway chooses.
const NUMBER: &str = "\u{1}";
/// Stands for a text that the gateway may have made.
const TEXT: &str = "\u{2}";

pub struct Exchange {
    pub case: String,
    pub front: Front,
    pub era: Era,
    pub upstream: Upstream,
    pub method: &'static str,
    pub request: String,
    pub notes: Vec<String>,
    pub answer: String,
    /// Whether a client without a session says that it can be asked.
    pub askable: bool,
}

/// Where a message has to be a line, as the only place where JSON allows a line end.
pub fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

impl Exchange {
    /// The client's, as spelled. All clients have the same ones.
    pub fn id(&self) -> String {
        if self.askable { "\"\\u0069d\"".into() } else { "12345678901234567890123".into() }
    }

    fn own_name(&self) -> String {
        if self.method == "resources/read" { format!("test://{}/a?b=1", self.case) } else { "t".into() }
    }

    fn listed_name(&self) -> String {
        match self.method {
            "resources/read" => format!("hangar://{}/{}", self.upstream.name, self.own_name()),
            _ => format!("{}__t", self.upstream.name),
        }
    }

    /// What a request of a client without a session says of itself.
    fn introduction(&self) -> String {
        let capabilities = if self.askable { CAPABILITIES } else { "{}" };
        format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities},"io.modelcontextprotocol/logLevel":"debug""#
        )
    }

    /// What the gateway says of a client that has a session.
    fn ours(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let capabilities = r#"{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{}}"#;
        format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities},"io.modelcontextprotocol/clientInfo":{{"name":"hangar","title":"hangar","version":"{version}"}}"#
        )
    }

    fn filled(&self, id: &str, token: &str, name: &str, keys: Option<&str>, meta: Option<String>) -> String {
        let name = format!("\"{name}\"");
        let keys = keys.map(|keys| format!("{keys},")).unwrap_or_default();
        // How a task is asked for with a session. Without one it is nothing that is known.
        let task = if self.era == Era::Modern { "\"task0\":{\"ttl\"" } else { "\"task\":{\"ttl\"" };
        let meta = meta.map(|meta| format!(r#""_meta":{{{meta}}},"#)).unwrap_or_default();
        let text = self
            .request
            .replace("\"task\":{\"ttl\"", task)
            .replace("@ID@", id)
            .replace("@TOKEN@", token)
            .replace("@CASE@", &self.case);
        text.replace("@NAME@", &name).replace("@URI@", &name).replace("@KEYS@", &keys).replace("@META@", &meta)
    }

    pub fn sent(&self) -> String {
        let keys = (self.era == Era::Modern).then(|| self.introduction());
        let text = self.filled(&self.id(), TOKEN, &self.listed_name(), keys.as_deref(), keys.clone());
        if self.front == Front::Stdio { one_line(&text) } else { text }
    }

    pub fn headers(&self) -> String {
        let name = self.listed_name();
        match (self.era, self.method) {
            (Era::Legacy, _) => String::new(),
            (_, "completion/complete") => {
                "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: completion/complete\r\n".into()
            }
            (_, method) => {
                format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\nMcp-Name: {name}\r\n")
            }
        }
    }

    /// The gateway's number in what the upstream has got; an `Err` is what it should have got.
    pub fn matched(&self, got: &str) -> Result<String, String> {
        let (keys, meta) = match (self.era, self.upstream.era) {
            (Era::Legacy, Era::Legacy) => (None, None),
            (Era::Legacy, Era::Modern) => (Some(self.ours()), Some(self.ours())),
            (Era::Modern, Era::Modern) => (Some(self.introduction()), Some(self.introduction())),
            // Taken out; a `_meta` that came stays.
            (Era::Modern, Era::Legacy) => (None, Some(String::new())),
        };
        let mut wanted = self.filled(NUMBER, NUMBER, &self.own_name(), keys.as_deref(), meta);
        if self.upstream.hears_lines() || self.front == Front::Stdio {
            wanted = one_line(&wanted);
        }
        let (mut rest, mut number) = (got.trim(), String::new());
        for (at, piece) in wanted.trim().split(NUMBER).enumerate() {
            if at > 0 {
                let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                if digits == 0 || !(number.is_empty() || rest[..digits] == number) {
                    return Err(wanted);
                }
                number = rest[..digits].to_owned();
                rest = &rest[digits..];
            }
            rest = rest.strip_prefix(piece).ok_or_else(|| wanted.clone())?;
        }
        if rest.is_empty() { Ok(number) } else { Err(wanted) }
    }

    fn has_token(&self) -> bool {
        self.request.contains("@TOKEN@")
    }

    fn told(&self) -> impl Iterator<Item = &String> {
        // Who has not asked for progress is not told of any.
        self.notes.iter().filter(|note| self.has_token() || !note.contains("@TOKEN@"))
    }

    /// What the upstream says; its own numbers it fills in itself.
    pub fn script(&self) -> String {
        let complete = |text: &str| match self.upstream.era {
            Era::Modern => text
                .replace("@RT@", "\"resultType\":\"complete\",\"ttlMs\":1.5e3,\"cacheScope\":\"public\",")
                .replace("@RT0@", "\"resultType\":\"complete\""),
            Era::Legacy => text.replace("@RT@", "").replace("@RT0@", ""),
        };
        let messages = self.told().chain([&self.answer]).map(|text| {
            let text =
                complete(text).replace("@URI@", &format!("\"{}\"", self.own_name())).replace("@TASK@", "\"t-1\"");
            if self.upstream.says_lines() { one_line(&text) } else { text }
        });
        messages.collect::<Vec<_>>().join("\n%%\n")
    }

    /// Every message that has to reach the client, the answer last.
    pub fn expected(&self) -> Vec<String> {
        let cached = match (self.upstream.era, self.era, self.method) {
            (Era::Modern, ..) => r#""resultType":"complete","ttlMs":1.5e3,"cacheScope":"public","#,
            (_, Era::Legacy, _) => "",
            (_, _, "resources/read") => r#""resultType":"complete","ttlMs":0,"cacheScope":"private","#,
            _ => r#""resultType":"complete","#,
        };
        // A result that is empty otherwise.
        let bare = match (self.upstream.era, self.era) {
            (Era::Legacy, Era::Legacy) => "",
            _ => r#""resultType":"complete""#,
        };
        // A server that answers with one JSON text says nothing before, and who takes one is told nothing.
        let silent = self.upstream.mode == "json" || self.front == Front::Json;
        let told = self.told().filter(|_| !silent);
        let uri = |text: &str| {
            let name = if self.method == "resources/read" { self.listed_name() } else { self.own_name() };
            text.replace("@URI@", &format!("\"{name}\""))
        };
        let all = told.chain([&self.answer]).map(|text| {
            let text = text.replace("@TOKEN@", TOKEN).replace("@TASK@", TEXT).replace("@ID@", &self.id());
            let text = uri(&text.replace("@RT@", cached).replace("@RT0@", bare));
            if self.front != Front::Json || self.upstream.says_lines() { one_line(&text) } else { text }
        });
        all.map(|text| text.trim().to_owned()).collect()
    }
}

/// Whether `text` is what was expected, with any text where one may have been made.
pub fn fits(expected: &str, text: &str) -> bool {
    let (mut pieces, mut rest) = (expected.split(TEXT), text);
    let Some(after) = pieces.next().and_then(|first| rest.strip_prefix(first)) else { return false };
    rest = after;
    for piece in pieces {
        let made = rest.strip_prefix('"').and_then(|made| made.split_once('"'));
        let Some(after) = made.and_then(|(_, after)| after.strip_prefix(piece)) else { return false };
        rest = after;
    }
    rest.is_empty()
}
