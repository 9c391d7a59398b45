//! What one instance has to tell upwards: a list of its catalogue changed, a resource was updated.
//!
//! Lists are flags (many changes, one refresh); updates go through one bounded channel of the gateway.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{Notify, mpsc};

use super::{Catalogue, ClientId, Listing};
use crate::{config::ProviderName, wire::Frame};

/// The lists of a catalogue, as far as changes are told to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    Tools = 1,
    Prompts = 2,
    Resources = 4,
}

/// A set of [`ListKind`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListKinds(u8);

/// Whose an instance is, and so who may hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// All share it.
    Everybody,
    /// Whoever is at home there.
    Home(ClientId),
    /// Those who have no instance of their own, though others have.
    Homeless,
}

/// `notifications/resources/updated` as the upstream sent it.
#[derive(Debug)]
pub struct ResourceUpdate {
    pub provider: ProviderName,
    pub audience: Audience,
    pub frame: Frame,
}

/// From the reader of one connection to those who act on it.
pub struct UpstreamNews {
    provider: ProviderName,
    audience: Audience,
    changed: AtomicU8,
    wake: Notify,
    updates: mpsc::Sender<ResourceUpdate>,
}

impl ListKind {
    pub const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    pub fn of(listing: Listing) -> Self {
        match listing {
            Listing::Tools => Self::Tools,
            Listing::Prompts => Self::Prompts,
            Listing::Resources | Listing::Templates => Self::Resources,
        }
    }
}

impl ListKinds {
    pub const ALL: Self = Self(7);
    /// Beside the lists: the upstream has forgotten what it was told.
    const RENEWED: u8 = 8;

    pub(super) fn of(kind: ListKind) -> Self {
        Self(kind as u8)
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lists in which two catalogues are not the same.
    pub(super) fn that_differ(one: &Catalogue, other: &Catalogue) -> Self {
        let kind = |listing: &Listing| match one.list(*listing) == other.list(*listing) {
            true => 0,
            false => ListKind::of(*listing) as u8,
        };
        Self(Listing::ALL.iter().map(kind).fold(0, |all, kind| all | kind))
    }

    pub fn has(self, kind: ListKind) -> bool {
        self.0 & kind as u8 != 0
    }

    pub fn renewed(self) -> bool {
        self.0 & Self::RENEWED != 0
    }
}

impl UpstreamNews {
    pub(super) fn new(provider: ProviderName, audience: Audience, updates: mpsc::Sender<ResourceUpdate>) -> Self {
        Self { provider, audience, changed: AtomicU8::new(0), wake: Notify::new(), updates }
    }

    pub(super) fn list_changed(&self, kind: ListKind) {
        self.changed.fetch_or(kind as u8, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// It has lost the session and has a new one: every list may be another one, too.
    pub(super) fn renewed(&self) {
        self.changed.fetch_or(ListKinds::ALL.0 | ListKinds::RENEWED, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Waits until a list changed; takes the set.
    pub(super) async fn changed_lists(&self) -> ListKinds {
        loop {
            match self.changed.swap(0, Ordering::Relaxed) {
                0 => self.wake.notified().await,
                set => return ListKinds(set),
            }
        }
    }

    pub(super) fn resource_updated(&self, frame: Frame) {
        // A full channel means that clients are told of other updates already; this one is dropped.
        let _ =
            self.updates.try_send(ResourceUpdate { provider: self.provider.clone(), audience: self.audience, frame });
    }
}
