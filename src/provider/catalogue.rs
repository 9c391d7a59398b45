//! What a provider offers: its lists as the upstream wrote them, and what it said in the handshake.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::wire::{Span, shallow};

/// One listed thing. `raw` is the upstream's own JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `name` of a tool or prompt, `uri` of a resource, `uriTemplate` of a template.
    pub key: String,
    /// Where in `raw` the value of that key stands (quotes included).
    pub key_place: Span,
    pub raw: Bytes,
}

/// The answer to `initialize`, as far as clients see any of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    pub protocol_version: String,
    /// Raw JSON objects; `{}` when the upstream left them out.
    pub capabilities: Bytes,
    pub server_info: Bytes,
    pub instructions: Option<String>,
    /// Spoken to in the legacy era, though it would serve the other one: it was late, and heard both questions.
    pub both: bool,
}

/// Immutable; a change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue {
    pub hello: Hello,
    pub tools: Vec<Item>,
    pub prompts: Vec<Item>,
    pub resources: Vec<Item>,
    pub templates: Vec<Item>,
    pub hints: Hints,
}

/// How long a list may be kept, as its upstream said when it was fetched. Not remembered over runs.
#[derive(Debug, Clone, Copy)]
pub struct Hint {
    pub fetched: Instant,
    pub ttl: Duration,
    pub public: bool,
}

/// Of each list. No part of what a catalogue is: the same things fetched again are the same catalogue.
#[derive(Debug, Clone, Default)]
pub struct Hints([Option<Hint>; 4]);

impl PartialEq for Hints {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Hints {}

impl Hint {
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched)
    }

    /// Of the promise.
    pub fn left(&self, now: Instant) -> Duration {
        self.ttl.saturating_sub(self.age(now))
    }
}

/// The four lists an upstream may have, and how each is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Listing {
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The field of the result that holds the items.
    pub fn field(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The field of an item that names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// What one entry is called in messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::Templates => "resource template",
        }
    }

    /// The capability that promises it.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }
}

impl Catalogue {
    pub fn list(&self, listing: Listing) -> &[Item] {
        match listing {
            Listing::Tools => &self.tools,
            Listing::Prompts => &self.prompts,
            Listing::Resources => &self.resources,
            Listing::Templates => &self.templates,
        }
    }

    pub(super) fn list_mut(&mut self, listing: Listing) -> &mut Vec<Item> {
        match listing {
            Listing::Tools => &mut self.tools,
            Listing::Prompts => &mut self.prompts,
            Listing::Resources => &mut self.resources,
            Listing::Templates => &mut self.templates,
        }
    }

    /// `None`: its upstream says nothing of it, or it was not fetched in this run.
    pub fn hint(&self, listing: Listing) -> Option<Hint> {
        self.hints.0.get(listing as usize).copied().flatten()
    }

    /// A list as it came.
    pub(super) fn put(&mut self, listing: Listing, (items, hint): (Vec<Item>, Option<Hint>)) {
        *self.list_mut(listing) = items;
        if let Some(place) = self.hints.0.get_mut(listing as usize) {
            *place = hint;
        }
    }

    pub fn tool(&self, name: &str) -> Option<&Item> {
        self.tools.iter().find(|item| item.key == name)
    }
}

impl Hello {
    /// Whether the upstream declared `capability` (`tools`, `logging`...), or a feature of it (`resources`, `subscribe`).
    pub fn has(&self, path: &[&str]) -> bool {
        let root = shallow::root(&self.capabilities).ok();
        let found = root.and_then(|root| shallow::path(&self.capabilities, root, path).ok().flatten());
        found.is_some_and(|place| !matches!(place.of(&self.capabilities), b"false" | b"null"))
    }
}

impl Item {
    /// Reads one element of a list. `None`: it has no usable key, so nobody could ask for it.
    pub fn read(text: &Bytes, place: Span, listing: Listing) -> Option<Self> {
        let raw = text.slice(place.range());
        let object = shallow::root(&raw).ok()?;
        let key_place = shallow::get(&raw, object, listing.key()).ok().flatten()?;
        let key = shallow::string(&raw, key_place)?.into_owned();
        Some(Self { key, key_place, raw })
    }

    /// A field of the item that is a string (`description`, `title`).
    pub fn text_field(&self, key: &str) -> Option<String> {
        let object = shallow::root(&self.raw).ok()?;
        let place = shallow::get(&self.raw, object, key).ok().flatten()?;
        shallow::string(&self.raw, place).map(std::borrow::Cow::into_owned)
    }

    /// A field of the item as raw JSON.
    pub fn raw_field(&self, key: &str) -> Option<Bytes> {
        let object = shallow::root(&self.raw).ok()?;
        let place = shallow::get(&self.raw, object, key).ok().flatten()?;
        Some(self.raw.slice(place.range()))
    }
}

/// Shared by everybody who lists.
pub type SharedCatalogue = Arc<Catalogue>;
