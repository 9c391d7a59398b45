//! Typed values of a file, with places: what `shape` makes and `normalize` takes.

use std::time::Duration;

use super::{keys::Key, raw::At};

/// The right values of one section, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub at: At,
    pub items: Vec<(&'static Key, &'static str, Item)>,
}

#[derive(Debug)]
pub(super) struct Item {
    pub at: At,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(Text),
    Flag(bool),
    Whole(u64),
    Decimal(f64),
    Seconds(Duration),
    Word(&'static str),
    List(Vec<Item>),
    Map(Vec<(String, At, Item)>),
    Fields(Fields),
    /// Already reported; keeps the place of an item in its list.
    Bad,
}

#[derive(Debug)]
pub(super) struct Text {
    pub text: String,
    /// Typed like this in the file, so it may be quoted in a problem; `false`: it came out of a `${}`.
    pub typed: bool,
}

// === impl Fields ===

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|(key, ..)| key.name == name).map(|(.., item)| item)
    }

    /// The key as the file spells it.
    pub(super) fn spelled(&self, name: &'static str) -> &'static str {
        self.items.iter().find(|(key, ..)| key.name == name).map_or(name, |(_, spelled, _)| spelled)
    }

    pub(super) fn text(&self, name: &str) -> Option<(&Text, At)> {
        self.get(name).and_then(Item::text)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn whole(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Whole(whole) => Some(whole),
            _ => None,
        }
    }

    pub(super) fn decimal(&self, name: &str) -> Option<f64> {
        match self.get(name)?.value {
            Value::Decimal(decimal) => Some(decimal),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, name: &str) -> Option<Duration> {
        match self.get(name)?.value {
            Value::Seconds(seconds) => Some(seconds),
            _ => None,
        }
    }

    pub(super) fn word(&self, name: &str) -> Option<&'static str> {
        match self.get(name)?.value {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn list(&self, name: &str) -> &[Item] {
        match self.get(name).map(|item| &item.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    pub(super) fn map(&self, name: &str) -> &[(String, At, Item)] {
        match self.get(name).map(|item| &item.value) {
            Some(Value::Map(items)) => items,
            _ => &[],
        }
    }

    pub(super) fn section(&self, name: &str) -> Option<&Fields> {
        match &self.get(name)?.value {
            Value::Fields(fields) => Some(fields),
            _ => None,
        }
    }
}

impl Item {
    pub(super) fn text(&self) -> Option<(&Text, At)> {
        match &self.value {
            Value::Text(text) => Some((text, self.at)),
            _ => None,
        }
    }
}
