//! How each client gets tools (`server.expose`, `server.clients`), and which of the gateway's own it is offered.

use std::sync::Arc;

use bytes::Bytes;

use super::{Index, OwnTools, Registry, Snapshot};
use crate::{
    config::Expose,
    provider::{Client, Globs, Item, Listing},
};

/// To find a tool, to read how it is called, to call it: all that a client in `search` mode lists. Always in this order and
/// spelled the same, so that what a model was told once stays true.
pub const TRIO: [&str; 3] = ["hangar_search_tools", "hangar_tools", "hangar_call"];

/// The rules of one generation, compiled.
pub struct Exposures {
    generation: u64,
    others: Expose,
    clients: Vec<(Globs, Expose)>,
    /// `server.control_tools`.
    control: Globs,
}

impl Exposures {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let server = &snapshot.config.server;
        let rule = |rule: &crate::config::ClientRule| (Globs::new(std::slice::from_ref(&rule.pattern)), rule.expose);
        Self {
            generation: snapshot.generation,
            others: server.expose.others,
            clients: server.expose.clients.iter().map(rule).collect(),
            control: Globs::new(&server.control_tools),
        }
    }

    /// For a client by the name that it gives itself; empty: it gives none.
    pub fn for_client(&self, name: &str) -> Expose {
        if self.clients.is_empty() {
            return self.others;
        }
        let name = name.to_lowercase();
        self.clients.iter().find(|(fits, _)| fits.is_match(&name)).map_or(self.others, |(_, expose)| *expose)
    }

    /// Whether no client lists other tools than another one.
    pub fn same_for_all(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether a tool of the gateway can be called by a client that gets tools in this way. The three are what `search` and
    /// `both` are made of, so `control_tools` cannot take them away there.
    pub(super) fn offers(&self, own: &str, expose: Expose) -> bool {
        self.control.is_match(own) || (expose != Expose::Direct && TRIO.contains(&own))
    }

    /// Whether it is offered to any client at all: then no provider's tool is listed by its name.
    pub(super) fn reserves(&self, own: &str) -> bool {
        let ways = self.clients.iter().map(|(_, expose)| *expose).chain([self.others]);
        ways.into_iter().any(|expose| self.offers(own, expose))
    }
}

impl Registry {
    pub fn exposures(&self) -> Arc<Exposures> {
        let snapshot = self.current.load();
        let known = self.exposures.load();
        if known.generation == snapshot.generation {
            return known.clone();
        }
        let fresh = Arc::new(Exposures::of(&snapshot));
        self.exposures.store(fresh.clone());
        fresh
    }

    /// Whether `name` is one of the gateway's own tools, and one that this client is offered.
    pub fn own_tool(&self, name: &str, client: &dyn Client) -> Option<&Arc<dyn OwnTools>> {
        let own = self.own_tools.get()?;
        let known = own.items().iter().any(|item| item.key == name);
        let offered = || {
            let exposures = self.exposures();
            exposures.offers(name, exposures.for_client(client.name()))
        };
        (known && offered()).then_some(own)
    }

    /// The tools of `index` as a client of this kind lists them: a raw JSON array. In `search` mode the same bytes whatever
    /// providers do.
    pub fn tools_array(&self, index: &Index, expose: Expose) -> Bytes {
        let exposures = self.exposures();
        let own = self.own_tools.get().map(|own| own.items()).unwrap_or_default();
        let tools = index.list(Listing::Tools);
        let listed: Vec<&[u8]> = match expose {
            Expose::Search => {
                TRIO.iter().filter_map(|name| own.iter().find(|item| item.key == *name)).map(raw).collect()
            }
            // What any client is offered, as most gateways have it.
            _ if own.iter().all(|item| exposures.offers(&item.key, expose) || !exposures.reserves(&item.key)) => {
                return tools.array.clone();
            }
            _ => {
                let own = own.iter().filter(|item| exposures.offers(&item.key, expose)).map(raw);
                own.chain([tools.upstream()]).filter(|elements| !elements.is_empty()).collect()
            }
        };
        [b"[", listed.join(&b","[..]).as_slice(), b"]"].concat().into()
    }
}

fn raw(item: &Item) -> &[u8] {
    &item.raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientRule, Config};

    fn exposures(others: Expose, clients: &[(&str, Expose)], control: &[&str]) -> Exposures {
        let mut config = Config::default();
        let rule = |(pattern, expose): &(&str, Expose)| ClientRule { pattern: (*pattern).into(), expose: *expose };
        config.server.expose.others = others;
        config.server.expose.clients = clients.iter().map(rule).collect();
        config.server.control_tools = control.iter().map(|pattern| (*pattern).to_owned()).collect();
        let snapshot = Snapshot {
            generation: 1,
            sha256: String::new(),
            config: config.into(),
            providers: Default::default(),
            groups: Default::default(),
        };
        Exposures::of(&snapshot)
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_case_does_not() {
        let rules = [("claude-code", Expose::Both), ("claude*", Expose::Search)];
        let exposures = exposures(Expose::Direct, &rules, &["*"]);
        for (name, expose) in [
            ("Claude-Code", Expose::Both),
            ("claude-ai", Expose::Search),
            ("CLAUDE/x", Expose::Search),
            ("not claude", Expose::Direct),
            ("", Expose::Direct),
        ] {
            assert_eq!(exposures.for_client(name), expose, "{name}");
        }
    }

    #[test]
    fn what_one_client_is_offered_no_provider_may_list_and_others_cannot_call() {
        let exposures = exposures(Expose::Direct, &[("a", Expose::Search)], &["hangar_list"]);
        assert!(exposures.reserves("hangar_call") && exposures.reserves("hangar_list"));
        assert!(!exposures.reserves("hangar_stop"));
        assert!(exposures.offers("hangar_call", Expose::Search) && !exposures.offers("hangar_call", Expose::Direct));
        assert!(exposures.offers("hangar_list", Expose::Search), "it is not listed there, but can be called");
    }
}
