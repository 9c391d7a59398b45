//! The HTTP+SSE transport of 2024-11-05: one GET stream carries everything the upstream says; it names the URL to POST to.
//!
//! The stream is the connection. When it ends, the connection is lost and every call with it; opening another one is the
//! business of the floor above.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use tokio::sync::{oneshot, watch};

use super::{
    client::{Http, origin, place},
    exchanges::Exchanges,
    note, peek,
    reply::{self, Events, Kind, Refusal},
    sse::Decoded,
};
use crate::transport::{Close, Connection, Exit, ExitCause, Inbound, Link, OutputRing, TransportError};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Of a POST: the answer to it is only "accepted".
const POST_TIMEOUT: Duration = Duration::from_secs(30);

struct Legacy {
    remote: Arc<Remote>,
}

struct Remote {
    http: Http,
    post_to: Url,
    inbound: Arc<dyn Inbound>,
    output: Arc<OutputRing>,
    exchanges: Arc<Exchanges>,
    /// Shut while `notifications/initialized` is on its way: servers refuse requests that overtake it.
    gate_open: watch::Sender<bool>,
}

/// Opens the stream and waits for the URL to POST to.
pub(super) async fn open(
    http: Http,
    startup_timeout: Duration,
    output: Arc<OutputRing>,
    inbound: Arc<dyn Inbound>,
) -> Result<Connection, TransportError> {
    let wait = tokio::time::timeout(startup_timeout, connect(&http)).await;
    let slow = |_| TransportError::Open(format!("{} named no endpoint in time", place(http.endpoint())));
    let (events, post_to) = wait.map_err(slow)??;
    let exchanges = Exchanges::new();
    let (tell, exit) = oneshot::channel();
    let remote = Arc::new(Remote { http, post_to, inbound, output, exchanges, gate_open: watch::Sender::new(true) });
    let reader = remote.clone();
    remote.exchanges.spawn_beside(async move {
        let why = reader.read(events).await;
        let _ = tell.send(Exit { cause: ExitCause::Lost(why), rung: None });
        reader.exchanges.end();
    });
    // The reader goes without a word when the connection is closed.
    let closed = Exit { cause: ExitCause::Closed, rung: None };
    let exit = Box::pin(async move { exit.await.unwrap_or(closed) });
    Ok(Connection { link: Arc::new(Legacy { remote }), died: Box::pin(std::future::pending()), exit })
}

async fn connect(http: &Http) -> Result<(Events, Url), TransportError> {
    let mut headers = http.headers();
    headers.insert(ACCEPT, EVENTS);
    let response = http.send(Method::GET, http.endpoint(), headers, None).await?;
    if !response.status().is_success() {
        return Err(Refusal::read(response).await.error(http));
    }
    if reply::kind(response.headers()) != Kind::Events {
        return Err(reply::unexpected(http, response).await);
    }
    let mut events = Events::new(http, response);
    loop {
        match events.next().await.map_err(|e| http.fault(e))? {
            Some(Decoded::Event(event)) if event.kind == "endpoint" => {
                let url = post_url(http.endpoint(), &String::from_utf8_lossy(&event.data))?;
                return Ok((events, url));
            }
            Some(_) => {}
            None => return Err(TransportError::Open("the event stream ended before it named its endpoint".into())),
        }
    }
}

/// The upstream may name any path on its own origin: to another one our credentials would go.
fn post_url(stream: &Url, named: &str) -> Result<Url, TransportError> {
    let unreadable = || TransportError::Open("the upstream names an endpoint that is no URL".into());
    let mut url = stream.join(named.trim()).map_err(|_| unreadable())?;
    if url.origin() != stream.origin() {
        let (theirs, ours) = (origin(&url), origin(stream));
        return Err(TransportError::Open(format!("refused: the upstream at {ours} names an endpoint at {theirs}")));
    }
    // Credentials in the configured URL belong to the origin, not to the path.
    url.set_username(stream.username())
        .and_then(|()| url.set_password(stream.password()))
        .map_err(|()| unreadable())?;
    Ok(url)
}

// === impl Legacy ===

impl Link for Legacy {
    fn send(&self, message: Bytes, request: Option<u64>) -> Result<(), TransportError> {
        let remote = self.remote.clone();
        let permit = remote.exchanges.admit(request)?;
        let announces = request.is_none() && peek::is_method(&message, "notifications/initialized");
        if announces {
            remote.gate_open.send_replace(false);
        }
        self.remote.exchanges.spawn(permit, async move {
            let outcome = tokio::time::timeout(POST_TIMEOUT, remote.post(message, announces)).await;
            if announces {
                remote.gate_open.send_replace(true);
            }
            match (
                outcome.unwrap_or_else(|_| Err(TransportError::Io("the POST was not taken in time".into()))),
                request,
            ) {
                (Ok(()), _) => {}
                (Err(error), Some(id)) => remote.inbound.failed(Some(id), error),
                (Err(error), None) => {
                    note(&remote.output, &format!("a notification or an answer was not taken: {error}"));
                }
            }
        });
        Ok(())
    }

    fn abandon(&self, id: u64) {
        self.remote.exchanges.abandon(id);
    }

    /// This transport has no such header.
    fn negotiated(&self, _version: &str) {}

    /// There is nothing to say goodbye with.
    fn close(&self, _how: Close) {
        self.remote.exchanges.end();
    }

    fn pid(&self) -> Option<u32> {
        None
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        self.remote.exchanges.end();
    }
}

// === impl Remote ===

impl Remote {
    async fn post(&self, message: Bytes, announces: bool) -> Result<(), TransportError> {
        if !announces {
            // The sender is `self`: it cannot be gone.
            let _ = self.gate_open.subscribe().wait_for(|open| *open).await;
        }
        let mut headers = self.http.headers();
        headers.insert(CONTENT_TYPE, JSON);
        let response = self.http.send(Method::POST, &self.post_to, headers, Some(message)).await?;
        if !response.status().is_success() {
            return Err(Refusal::read(response).await.error(&self.http));
        }
        reply::finish(response).await;
        Ok(())
    }

    /// Until the stream ends; says why.
    async fn read(&self, mut events: Events) -> String {
        loop {
            match events.next().await {
                Ok(Some(Decoded::Event(event))) if matches!(event.kind.as_str(), "" | "message") => {
                    self.inbound.message(event.data, None);
                }
                Ok(Some(Decoded::Event(_))) => {}
                Ok(Some(Decoded::Oversize)) => {
                    self.inbound.failed(None, TransportError::Oversize { limit: self.http.limit });
                }
                Ok(None) => return format!("the event stream of {} ended", place(self.http.endpoint())),
                Err(error) => return self.http.fault(error).to_string(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_stays_on_its_origin() {
        let stream = Url::parse("https://u:p@h.example/v1/sse").unwrap();
        let at = |named: &str| post_url(&stream, named);
        assert_eq!(at("/messages?s=1").unwrap().as_str(), "https://u:p@h.example/messages?s=1");
        assert_eq!(at("messages").unwrap().as_str(), "https://u:p@h.example/v1/messages");
        assert_eq!(at("https://h.example:443/m").unwrap().as_str(), "https://u:p@h.example/m");
        for foreign in ["https://evil.example/m", "//evil.example/m", "http://h.example/m", "https://h.example:8443/m"]
        {
            let error = at(foreign).expect_err(foreign).to_string();
            assert!(error.starts_with("refused:") && !error.contains("u:p"), "{error}");
        }
    }
}
