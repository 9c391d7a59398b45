//! `server.expose` and `server.clients`: how each client gets the tools of the providers.

use super::{
    codes,
    fields::{Fields, Item, Value},
    load::Load,
    validate,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expose {
    /// Listed one by one.
    #[default]
    Direct,
    /// Found, described and called through three tools of the gateway; nothing else is listed.
    Search,
    /// Listed one by one, and the three in any case.
    Both,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExposeSettings {
    /// Of clients that no rule is for.
    pub others: Expose,
    /// In file order: the first that fits counts.
    pub clients: Vec<ClientRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRule {
    /// A glob on the name that a client gives itself, in lower case: case does not matter.
    pub pattern: String,
    pub expose: Expose,
}

impl Expose {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Search => "search",
            Self::Both => "both",
        }
    }

    fn of(fields: &Fields) -> Self {
        match fields.word("expose") {
            Some("search") => Self::Search,
            Some("both") => Self::Both,
            _ => Self::Direct,
        }
    }
}

/// Of the section `server`.
pub(super) fn settings(load: &mut Load<'_>, server: &Fields) -> ExposeSettings {
    let mut clients: Vec<ClientRule> = Vec::new();
    let mark = load.enter("clients");
    for (index, item) in server.list("clients").iter().enumerate() {
        let inner = load.enter_item(index);
        clients.extend(rule(load, item, &clients));
        load.leave(inner);
    }
    load.leave(mark);
    ExposeSettings { others: Expose::of(server), clients }
}

fn rule(load: &mut Load<'_>, item: &Item, before: &[ClientRule]) -> Option<ClientRule> {
    let Value::Fields(fields) = &item.value else { return None };
    let (text, at) = fields.text("match")?;
    let mark = load.enter("match");
    validate::glob(load, text, at);
    let pattern = text.text.to_lowercase();
    if before.iter().any(|rule| rule.pattern == "*" || rule.pattern == pattern) {
        let message = "no client ever comes to this rule: one before it takes all that it is for";
        let help = "the first rule that fits counts; put the general ones last".to_owned();
        load.problem(codes::RULE_ORDER, Some(at), message, Some(help));
    }
    load.leave(mark);
    Some(ClientRule { pattern, expose: Expose::of(fields) })
}
