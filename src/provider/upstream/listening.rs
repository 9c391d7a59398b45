//! What a modern upstream is listened to for, and what it has agreed to: shared by the task that keeps the stream open and
//! by calls that subscribe.

use std::{collections::BTreeSet, time::Duration};

use tokio::sync::watch;

use super::Upstream;
use crate::{
    provider::{CallError, ListKind},
    transport::TransportError,
    wire::{self, Frame, Span, code, modern::key, shallow},
};

pub(super) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
/// Resources of one upstream that are listened to.
const MOST: usize = 10_000;

#[derive(Default)]
pub(in crate::provider) struct Listening {
    /// Resources that clients are subscribed to, as the upstream names them.
    pub(in crate::provider) wanted: watch::Sender<BTreeSet<String>>,
    /// The newest acknowledgement: of which request, and the resources in it.
    pub(in crate::provider) acknowledged: watch::Sender<Option<(u64, BTreeSet<String>)>>,
    pub(in crate::provider) heard: watch::Sender<Heard>,
}

/// How the newest attempt to listen went.
#[derive(Debug, Clone, Default)]
pub(in crate::provider) struct Heard {
    pub asked: BTreeSet<String>,
    pub granted: BTreeSet<String>,
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
        let uris = place(&["notifications", "resourceSubscriptions"]);
        let uris = uris.and_then(|list| shallow::elements(frame.bytes(), list)).unwrap_or_default();
        let uris = uris.into_iter().filter_map(|uri| Some(shallow::string(frame.bytes(), uri)?.into_owned()));
        self.acknowledged.send_replace(Some((number, uris.collect())));
    }

    /// Listens to these, too, whenever there is a stream.
    pub(super) fn want(&self, uris: impl IntoIterator<Item = String>) {
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.len();
            wanted.extend(uris.into_iter().take(MOST.saturating_sub(before)));
            wanted.len() > before
        });
    }

    fn forget(&self, uri: &str) {
        self.wanted.send_if_modified(|wanted| wanted.remove(uri));
    }
}

impl Upstream {
    /// `resources/subscribe` or `resources/unsubscribe` of `uri`, as an upstream that knows neither would answer.
    pub async fn subscription(&self, frame: &Frame, uri: &str, within: Duration) -> Result<Frame, CallError> {
        let refused = match frame.method() {
            "resources/subscribe" => self.hear(uri, within).await?,
            _ => {
                self.listening.forget(uri);
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

    /// After a start: what clients are subscribed to.
    pub fn listen_to(&self, uris: impl IntoIterator<Item = String>) {
        self.listening.want(uris);
    }

    /// Waits until updates of `uri` are told; otherwise says why they are not.
    async fn hear(&self, uri: &str, within: Duration) -> Result<Option<String>, CallError> {
        let mut heard = self.listening.heard.subscribe();
        self.listening.want([uri.to_owned()]);
        let asked = heard.wait_for(|heard| heard.asked.contains(uri));
        let outcome = match tokio::time::timeout(within, asked).await {
            Ok(Ok(heard)) => heard.clone(),
            // The sender is in self.
            Ok(Err(_)) => Heard::default(),
            Err(_) => {
                self.listening.forget(uri);
                return Err(CallError::Timeout { provider: self.provider.clone(), after: within });
            }
        };
        if outcome.granted.contains(uri) {
            return Ok(None);
        }
        self.listening.forget(uri);
        let why = outcome.failed.unwrap_or_else(|| "it does not tell updates of this resource".into());
        Ok(Some(format!("provider \"{}\": {why}", self.provider)))
    }
}
