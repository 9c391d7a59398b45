//! What a modern upstream is listened to for, and what it has agreed to: shared by the task that keeps the stream open and
//! by calls that subscribe.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::watch;

use super::{Upstream, in_flight::CALL_TIMEOUT};
use crate::{
    provider::{CallError, ListKind},
    transport::TransportError,
    wire::{self, Frame, Span, code, modern::key, shallow},
};

/// Where topics of each kind stand in a filter.
pub(in crate::provider) const RESOURCES: &str = "resourceSubscriptions";
pub(in crate::provider) const TASKS: &str = "taskIds";
pub(super) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// What can be listened for by name, as the upstream calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Resource(String),
    Task(String),
}

/// Topics of one upstream that are listened to.
const MOST: usize = 10_000;

#[derive(Default)]
pub(in crate::provider) struct Listening {
    /// What clients are subscribed to.
    pub(in crate::provider) wanted: watch::Sender<BTreeSet<Topic>>,
    /// The newest acknowledgement: of which request, and the topics in it.
    pub(in crate::provider) acknowledged: watch::Sender<Option<(u64, BTreeSet<Topic>)>>,
    pub(in crate::provider) heard: watch::Sender<Heard>,
}

/// How the newest attempt to listen went.
#[derive(Debug, Clone, Default)]
pub(in crate::provider) struct Heard {
    pub asked: BTreeSet<Topic>,
    pub granted: BTreeSet<Topic>,
    /// Why there is no stream.
    pub failed: Option<String>,
}

impl Listening {
    pub(super) fn acknowledged(&self, frame: &Frame) {
        let place =
            |path: &[&str]| -> Option<Span> { shallow::path(frame.bytes(), frame.params()?, path).ok().flatten() };
        let number = place(&["_meta", key::SUBSCRIPTION]).map(|place| frame.text(place));
        let number = number.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let Some(number) = number else { return };
        let mut topics = BTreeSet::new();
        for (key, topic) in [(RESOURCES, Topic::Resource as fn(String) -> Topic), (TASKS, Topic::Task)] {
            let list = place(&["notifications", key]);
            let names = list.and_then(|list| shallow::elements(frame.bytes(), list)).unwrap_or_default();
            let names = names.into_iter().filter_map(|name| Some(shallow::string(frame.bytes(), name)?.into_owned()));
            topics.extend(names.map(topic));
        }
        self.acknowledged.send_replace(Some((number, topics)));
    }

    /// Listens to these, too, whenever there is a stream.
    fn want(&self, topics: impl IntoIterator<Item = Topic>) {
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.len();
            wanted.extend(topics.into_iter().take(MOST.saturating_sub(before)));
            wanted.len() > before
        });
    }

    fn forget(&self, topic: &Topic) {
        self.wanted.send_if_modified(|wanted| wanted.remove(topic));
    }
}

impl Upstream {
    /// `resources/subscribe` or `resources/unsubscribe` of `uri`, as an upstream that knows neither would answer.
    pub async fn subscription(&self, frame: &Frame, uri: &str, within: Duration) -> Result<Frame, CallError> {
        let topic = Topic::Resource(uri.to_owned());
        let refused = match frame.method() {
            "resources/subscribe" => self.hear(topic, within).await?,
            _ => {
                self.listening.forget(&topic);
                None
            }
        };
        let answer = match refused {
            None => wire::result(b"0", b"{}"),
            Some(why) => wire::error(b"0", code::INVALID_REQUEST, &why, None),
        };
        Frame::parse(answer).map_err(|error| self.transport_error(TransportError::Io(error.to_string())))
    }

    /// A list of its may be another one than it was: it refused a call for headers that do not fit, or its time is over.
    pub fn doubt(&self, kind: ListKind) {
        self.news.list_changed(kind);
    }

    /// Of a modern one: what clients are subscribed to, too.
    pub fn listen_to(&self, topics: impl IntoIterator<Item = Topic>) {
        self.listening.want(topics);
    }

    /// Waits until it is told of; otherwise says why they are not.
    async fn hear(&self, topic: Topic, within: Duration) -> Result<Option<String>, CallError> {
        let mut heard = self.listening.heard.subscribe();
        self.listening.want([topic.clone()]);
        let asked = heard.wait_for(|heard| heard.asked.contains(&topic));
        let outcome = match tokio::time::timeout(within, asked).await {
            Ok(Ok(heard)) => heard.clone(),
            // The sender is in self.
            Ok(Err(_)) => Heard::default(),
            Err(_) => {
                self.listening.forget(&topic);
                return Err(CallError::Timeout { provider: self.provider.clone(), after: within, limit: CALL_TIMEOUT });
            }
        };
        if outcome.granted.contains(&topic) {
            return Ok(None);
        }
        self.listening.forget(&topic);
        let why = outcome.failed.unwrap_or_else(|| "it does not tell updates of this resource".into());
        Ok(Some(format!("provider \"{}\": {why}", self.provider)))
    }
}
