//! The two families of protocol revisions. An upstream has one from its handshake on, a client with every message.

use super::{Catalogue, Hello};
use crate::{
    config::Protocol,
    wire::{Frame, modern, shallow},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Era {
    /// `initialize`, sessions, server-to-client requests: 2024-11-05 to 2025-11-25.
    #[default]
    Legacy,
    /// Every request for itself: 2026-07-28.
    Modern,
}

impl Era {
    /// Of the client that wrote a request: a modern one says so in every request.
    pub fn of(request: &Frame) -> Self {
        let names_version = request.params().is_some_and(|params| {
            // The long way only for what may be one.
            memchr::memmem::find(request.text(params), modern::key::VERSION.as_bytes()).is_some()
                && shallow::path(request.bytes(), params, &["_meta", modern::key::VERSION]).is_ok_and(|p| p.is_some())
        });
        if names_version { Self::Modern } else { Self::Legacy }
    }
}

impl Catalogue {
    /// Whether it may be what a provider with this setting offers: what a tool looks like depends on the era.
    pub(super) fn fits(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Auto => true,
            Protocol::Legacy => self.hello.era() == Era::Legacy,
            Protocol::Modern => self.hello.era() == Era::Modern,
        }
    }
}

impl Hello {
    pub fn era(&self) -> Era {
        if self.protocol_version == modern::VERSION { Era::Modern } else { Era::Legacy }
    }

    /// In the way of its era: the two are not the same thing.
    pub fn has_tasks(&self) -> bool {
        match self.era() {
            Era::Legacy => self.has(&["tasks"]),
            Era::Modern => self.has(&["extensions", modern::extension::TASKS]),
        }
    }
}
