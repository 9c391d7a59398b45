//! The one session with a streamable HTTP upstream: its id, its version, and the single flight that renews it once lost.
//!
//! Requests pass a gate ([`Sessions::ready`]) that is shut while `notifications/initialized` is on its way (servers refuse
//! requests that overtake it) and while a lost session is renewed.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;

use crate::transport::TransportError;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The revision that introduced the version header.
const VERSION_SINCE: &str = "2025-06-18";

#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// As the upstream gave it; `None`: it has no sessions, or there was no handshake yet.
    pub id: Option<HeaderValue>,
    version: Option<HeaderValue>,
    /// Counts renewals.
    pub epoch: u64,
}

pub(super) struct Sessions {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    session: Session,
    gate: Gate,
    /// `notifications/initialized` was taken.
    announced: bool,
}

#[derive(Debug, Clone, Default)]
enum Gate {
    #[default]
    Open,
    Shut,
    /// The session could not be renewed; the next request tries again.
    Lost(TransportError),
}

impl Session {
    /// Sets what every request in this session carries.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.id {
            headers.insert(SESSION_ID, id.clone());
        }
        if let Some(version) = &self.version {
            headers.insert(VERSION, version.clone());
        }
    }

    /// `version` is the one settled on by the first handshake.
    pub(super) fn speaks(&self, version: &str) -> bool {
        self.version.as_ref().is_none_or(|v| v.as_bytes() == version.as_bytes())
    }

    /// The session id that a response to `initialize` gives.
    pub(super) fn id_of(headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(SESSION_ID).filter(|id| !id.is_empty()).cloned().map(|mut id| {
            // Whoever has it can act in the session.
            id.set_sensitive(true);
            id
        })
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    pub(super) fn current(&self) -> Session {
        self.state.borrow().session.clone()
    }

    pub(super) fn established(&self, id: Option<HeaderValue>) {
        self.state.send_modify(|s| s.session.id = id);
    }

    pub(super) fn negotiated(&self, version: &str) {
        let header = HeaderValue::from_str(version).ok().filter(|_| version >= VERSION_SINCE);
        self.state.send_modify(|s| s.session.version = header);
    }

    /// `notifications/initialized` goes out: nothing may overtake it.
    pub(super) fn announcing(&self) {
        self.state.send_modify(|s| s.gate = Gate::Shut);
    }

    /// It was taken, or not; the handshake is over in any case.
    pub(super) fn announced(&self, taken: bool) {
        self.state.send_modify(|s| {
            s.gate = Gate::Open;
            s.announced |= taken;
        });
    }

    /// The session to send in, once there is nothing to wait for. Renews nothing.
    pub(super) async fn settled(&self) -> Session {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|s| !matches!(s.gate, Gate::Shut)).await.map(|s| s.session.clone());
        // The sender is `self`: it cannot be gone.
        settled.unwrap_or_default()
    }

    /// The session to send a request in, another one than that of epoch `stale`. Waits for a renewal under way, or has
    /// `renew` start one: of any number of callers one does.
    pub(super) async fn ready(&self, stale: Option<u64>, renew: impl Fn()) -> Result<Session, TransportError> {
        let mut watch = self.state.subscribe();
        let since = stale.unwrap_or_else(|| watch.borrow().session.epoch);
        loop {
            let state = watch.wait_for(|s| !matches!(s.gate, Gate::Shut)).await.map(|s| s.clone());
            let State { session, gate, .. } = state.map_err(|_| TransportError::Closed)?;
            match gate {
                Gate::Open if Some(session.epoch) != stale => return Ok(session),
                Gate::Lost(error) if session.epoch > since => return Err(error),
                _ => {}
            }
            if self.begin_renewal(session.epoch) {
                renew();
            }
        }
    }

    fn begin_renewal(&self, epoch: u64) -> bool {
        self.state.send_if_modified(|s| {
            let first = s.session.epoch == epoch && !matches!(s.gate, Gate::Shut);
            if first {
                s.gate = Gate::Shut;
            }
            first
        })
    }

    /// What became of the renewal that [`Sessions::ready`] asked for: the new id.
    pub(super) fn renewed(&self, outcome: Result<Option<HeaderValue>, TransportError>) {
        self.state.send_modify(|s| {
            s.session.epoch += 1;
            s.gate = match outcome {
                Ok(id) => {
                    s.session.id = id;
                    Gate::Open
                }
                Err(error) => Gate::Lost(error),
            };
        });
    }

    /// An announced session that is newer than epoch `after`.
    pub(super) async fn announced_after(&self, after: Option<u64>) -> Session {
        let mut state = self.state.subscribe();
        let fresh = |s: &State| s.announced && matches!(s.gate, Gate::Open) && Some(s.session.epoch) > after;
        let session = state.wait_for(fresh).await.map(|s| s.session.clone());
        session.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// 50 requests learn at once that the session is lost.
    async fn lose(
        sessions: &Arc<Sessions>,
        outcome: Result<(), TransportError>,
    ) -> (usize, Vec<Result<u64, TransportError>>) {
        let renewals = Arc::new(AtomicUsize::new(0));
        let stale = sessions.current().epoch;
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let (sessions, renewals, outcome) = (sessions.clone(), renewals.clone(), outcome.clone());
                tokio::spawn(async move {
                    let renew = || {
                        renewals.fetch_add(1, Ordering::SeqCst);
                        let (sessions, outcome) = (sessions.clone(), outcome.clone());
                        tokio::spawn(async move {
                            tokio::task::yield_now().await;
                            sessions.renewed(outcome.map(|()| Some(HeaderValue::from_static("new"))));
                        });
                    };
                    sessions.ready(Some(stale), renew).await.map(|s| s.epoch)
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in waiting {
            outcomes.push(task.await.unwrap());
        }
        (renewals.load(Ordering::SeqCst), outcomes)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_renewal_serves_everybody() {
        let sessions = Arc::new(Sessions::new());
        for epoch in 1..20 {
            let (renewals, outcomes) = lose(&sessions, Ok(())).await;
            assert_eq!(renewals, 1);
            assert!(outcomes.iter().all(|o| *o == Ok(epoch)), "{outcomes:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_failed_renewal_fails_those_who_waited_and_the_next_one_tries_again() {
        let sessions = Arc::new(Sessions::new());
        let error = TransportError::Io("gone".into());
        let (renewals, outcomes) = lose(&sessions, Err(error.clone())).await;
        assert_eq!(renewals, 1);
        assert!(outcomes.iter().all(|o| *o == Err(error.clone())), "{outcomes:?}");
        let again = sessions.ready(None, || sessions.renewed(Ok(None))).await.unwrap();
        assert_eq!(again.epoch, 2);
    }
}
