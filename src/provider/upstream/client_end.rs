//! Who is at the other end of a conversation: every client of the gateway, or the one that the instance belongs to. It decides
//! what is declared to the upstream, and where a message goes that belongs to no call.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::provider::{Audience, Caller, Client, ClientFeature, Provider};

/// How long a question may wait for a way to its client: one that has just begun may not have opened its stream yet.
pub(super) const OPENING: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(in crate::provider) enum ClientEnd {
    /// Whoever has a call here.
    Shared,
    /// One that is there also between its calls.
    Session { client: Arc<dyn Client>, capabilities: Bytes },
    /// The calls of one, or none.
    Calls { capabilities: Bytes },
}

impl ClientEnd {
    /// What the upstream is told that it may ask for: a raw JSON object.
    pub(in crate::provider) fn capabilities(&self) -> Bytes {
        match self {
            // Which of its clients is meant shows with the question. Roots are told apart by nothing.
            Self::Shared => Bytes::from_static(br#"{"sampling":{},"elicitation":{}}"#),
            Self::Session { capabilities, .. } | Self::Calls { capabilities } => capabilities.clone(),
        }
    }

    pub(super) fn is_session(&self) -> bool {
        matches!(self, Self::Session { .. })
    }

    /// The way to its client beside all calls.
    pub(super) fn general(&self, feature: Option<ClientFeature>) -> Option<Caller> {
        let Self::Session { client, .. } = self else { return None };
        let relay = client.general().filter(|_| feature.is_none_or(|feature| client.has(feature)))?;
        Some(Caller { client: client.clone(), relay })
    }

    /// Whether waiting may bring one.
    pub(super) fn may_open(&self, feature: Option<ClientFeature>) -> bool {
        let has = |client: &Arc<dyn Client>| feature.is_none_or(|feature| client.has(feature));
        matches!(self, Self::Session { client, .. } if has(client) && !client.home().over.is_cancelled())
    }

    /// Why a request goes to nobody.
    pub(super) fn refusal(&self, provider: &str) -> String {
        match self {
            Self::Shared => format!(
                "this request cannot be routed: provider \"{provider}\" is shared by all clients, and a request goes to one \
                 only when exactly one client that has declared the capability has a call in flight here; with `sharing: \
                 session` in its configuration each client has an instance of its own"
            ),
            Self::Session { .. } => format!(
                "the client of this instance of provider \"{provider}\" has not declared the capability, or has no open \
                 stream on which it could be asked"
            ),
            Self::Calls { .. } => format!(
                "no call is in flight in this instance of provider \"{provider}\" whose client has declared the capability; \
                 a client without a session cannot be asked between its calls"
            ),
        }
    }
}

impl Provider {
    /// For the next instance.
    pub(in crate::provider) fn client_end(&self) -> ClientEnd {
        match &self.owner {
            None if self.is_per_client() => ClientEnd::Calls { capabilities: Bytes::from_static(b"{}") },
            None => ClientEnd::Shared,
            Some(owner) => match (owner.client.clone(), owner.capabilities.clone()) {
                (Some(client), capabilities) => ClientEnd::Session { client, capabilities },
                (None, capabilities) => ClientEnd::Calls { capabilities },
            },
        }
    }

    /// Who may hear of what its instance tells.
    pub fn audience(&self) -> Audience {
        match self.home() {
            Some(home) => Audience::Home(home),
            None if self.is_per_client() => Audience::Homeless,
            None => Audience::Everybody,
        }
    }
}
