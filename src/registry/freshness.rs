//! How long a client may keep a merged list: the least of its parts, counted from when each came; and asking again for parts of
//! which nobody tells when they change.

use std::time::{Duration, Instant};

use super::Registry;
use crate::provider::{Catalogue, Client, Era, ListKind, Listing, Provider};

/// A part is not asked for again sooner, whatever it says.
const SOONEST: Duration = Duration::from_secs(5);

/// The hints of one list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    pub ttl: Duration,
    /// Anybody may be given it who asks.
    pub public: bool,
}

/// To be asked for every time, by everybody for himself.
const STALE: Freshness = Freshness { ttl: Duration::ZERO, public: false };

impl Registry {
    /// Of the list as it is now. What a legacy upstream lists, or one that has not been seen since, may be another thing at any
    /// moment; so may a list that has no part of any provider.
    pub fn freshness(&self, client: &dyn Client, listing: Listing) -> Freshness {
        let (snapshot, now) = (self.snapshot(), Instant::now());
        let mut least: Option<Freshness> = None;
        for provider in snapshot.providers.values() {
            let Some(catalogue) = provider.catalogue_for(client) else { return STALE };
            if !catalogue.hello.has(&[listing.capability()]) {
                continue;
            }
            let Some(hint) = catalogue.hint(listing) else { return STALE };
            let public = hint.public && (listing != Listing::Tools || provider.offers_all());
            let part = Freshness { ttl: hint.left(now), public };
            least =
                Some(least.map_or(part, |least| Freshness {
                    ttl: least.ttl.min(part.ttl),
                    public: least.public && part.public,
                }));
        }
        least.unwrap_or(STALE)
    }

    /// Fetches parts again that are over their time and of upstreams that do not tell of changes. Waits for nothing: clients
    /// are told when a list turns out to be another one.
    pub fn refresh_stale(&self, client: &dyn Client, listing: Listing) {
        let now = Instant::now();
        for common in self.snapshot().providers.values() {
            for provider in common.instances_of(client.home().id).iter().chain([common]) {
                if let Some(catalogue) = provider.catalogue()
                    && is_due(&catalogue, listing, now)
                {
                    refresh(provider, listing);
                }
            }
        }
    }
}

fn is_due(catalogue: &Catalogue, listing: Listing, now: Instant) -> bool {
    catalogue.hello.era() == Era::Modern
        && !catalogue.hello.has(&[listing.capability(), "listChanged"])
        && catalogue.hint(listing).is_some_and(|hint| hint.age(now) > hint.ttl.max(SOONEST))
}

fn refresh(provider: &Provider, listing: Listing) {
    if let Some(upstream) = provider.live() {
        upstream.doubt(ListKind::of(listing));
    }
}
