//! Resources that a legacy upstream has been asked to tell of, as it calls them: what has to be given up when nobody wants to
//! hear of it any more.

use std::{collections::BTreeSet, sync::PoisonError};

use super::{Topic, Upstream};

/// More are not remembered, and are told of as long as the instance lives.
const MOST: usize = 10_000;

impl Upstream {
    pub fn subscribed(&self, uri: &str, on: bool) {
        let mut all = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        match on {
            true if all.len() < MOST => drop(all.insert(uri.to_owned())),
            true => {}
            false => drop(all.remove(uri)),
        }
    }

    pub fn subscriptions(&self) -> Vec<String> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Of a modern one: nothing else than this any more.
    pub fn listen_only_to(&self, topics: &BTreeSet<Topic>) {
        self.listening.wanted.send_if_modified(|wanted| {
            let before = wanted.len();
            wanted.retain(|topic| topics.contains(topic));
            wanted.len() < before
        });
    }
}
