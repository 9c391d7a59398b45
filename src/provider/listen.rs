//! Beside a live modern instance: the one `subscriptions/listen` stream on which it tells what has changed. Opened again when
//! it ends, and when clients want to hear of other resources; what comes on it is news like that of a legacy upstream.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    CallError, InFlight, ListKind, Provider, Topic, Upstream,
    upstream::{Heard, RESOURCES, TASKS},
};

/// Longest wait for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(10);
/// Subscriptions that come within this time are asked for together.
const TOGETHER: Duration = Duration::from_millis(10);
/// How much longer than its successor's acknowledgement a stream is heard.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Between streams that end at once.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A stream that lived this long was no failure.
const STEADY: Duration = Duration::from_secs(10);

const KINDS: [(&str, &str, ListKind); 3] = [
    ("tools", "toolsListChanged", ListKind::Tools),
    ("prompts", "promptsListChanged", ListKind::Prompts),
    ("resources", "resourcesListChanged", ListKind::Resources),
];

/// In a refusal: it has no such method.
const UNKNOWN: &str = "-32601";

/// How waiting on an open stream ended.
enum Next {
    Ended(String),
    OtherWishes,
}

impl Provider {
    pub(super) async fn keep_listening(self: Arc<Self>, upstream: Arc<Upstream>) {
        let mut wanted = upstream.listening.wanted.subscribe();
        let mut open: Option<InFlight> = None;
        let mut pause = FIRST_PAUSE;
        let mut missed = false;
        loop {
            let uris = wanted.borrow_and_update().clone();
            let filter = self.filter(&uris);
            if filter.is_empty() {
                open = None;
                upstream.listening.heard.send_replace(Heard::default());
                if wanted.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(TOGETHER).await;
                continue;
            }
            let mut unknown = false;
            let began = tokio::time::Instant::now();
            let why = match self.open(&upstream, &filter, &uris).await {
                Ok(call) => {
                    // The earlier stream ends a while after its successor is there, so that nothing is missed in between:
                    // over HTTP its last words may be on their way still, on a connection of their own.
                    if let Some(earlier) = open.take() {
                        self.lives.spawn(async move {
                            tokio::time::sleep(LAST_WORDS).await;
                            drop(earlier);
                        });
                    }
                    let call = open.insert(call);
                    if std::mem::take(&mut missed) {
                        self.catch_up(&upstream, &filter);
                    }
                    let next = tokio::select! {
                        ended = call.ended() => Next::Ended(told(&ended)),
                        changed = wanted.changed() => match changed {
                            Ok(()) => Next::OtherWishes,
                            Err(_) => return,
                        },
                    };
                    match next {
                        Next::OtherWishes => {
                            tokio::time::sleep(TOGETHER).await;
                            continue;
                        }
                        Next::Ended(why) => why,
                    }
                }
                Err(why) => {
                    upstream.listening.heard.send_replace(Heard {
                        asked: uris,
                        failed: Some(why.clone()),
                        ..Heard::default()
                    });
                    unknown = why.contains(UNKNOWN);
                    why
                }
            };
            open = None;
            missed = true;
            if began.elapsed() > STEADY {
                pause = FIRST_PAUSE;
            }
            tracing::debug!(provider = %self.name, why, "listening_ended");
            // One that knows no such stream is asked again only when somebody wants to hear of something else.
            let again = if unknown { Duration::MAX } else { pause };
            tokio::select! {
                () = pause_for(again) => {}
                // Somebody waits for a subscription: tried at once.
                _ = wanted.changed() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What it offers to tell, and the topics.
    fn filter(&self, topics: &BTreeSet<Topic>) -> Map<String, Value> {
        let mut filter = Map::new();
        let Some(catalogue) = self.catalogue() else { return filter };
        for (capability, key, _) in KINDS {
            if catalogue.hello.has(&[capability, "listChanged"]) {
                filter.insert(key.to_owned(), Value::Bool(true));
            }
        }
        for topic in topics {
            let (key, name) = match topic {
                Topic::Resource(uri) => (RESOURCES, uri),
                Topic::Task(id) => (TASKS, id),
            };
            if let Value::Array(names) = filter.entry(key).or_insert_with(|| json!([])) {
                names.push(json!(name));
            }
        }
        filter
    }

    /// The open stream; an `Err` says why there is none.
    async fn open(
        &self,
        upstream: &Arc<Upstream>,
        filter: &Map<String, Value>,
        topics: &BTreeSet<Topic>,
    ) -> Result<InFlight, String> {
        let mut acknowledged = upstream.listening.acknowledged.subscribe();
        let params = json!({"notifications": filter}).to_string();
        let call = upstream.request("subscriptions/listen", params.as_bytes());
        let mut call = call.map_err(|error| error.to_string())?;
        let id = call.id();
        let granted = tokio::select! {
            biased;
            found = acknowledged.wait_for(|seen| seen.as_ref().is_some_and(|(number, _)| *number == id)) => {
                found.ok().and_then(|seen| seen.clone()).map(|(_, topics)| topics).unwrap_or_default()
            }
            ended = call.ended() => return Err(told(&ended)),
            () = tokio::time::sleep(PATIENCE) => return Err("it did not acknowledge subscriptions/listen".into()),
        };
        upstream.listening.heard.send_replace(Heard { asked: topics.clone(), granted, failed: None });
        Ok(call)
    }

    /// After a time without a stream: every list may be another one now.
    fn catch_up(&self, upstream: &Upstream, filter: &Map<String, Value>) {
        for (_, key, kind) in KINDS {
            if filter.contains_key(key) {
                upstream.news.list_changed(kind);
            }
        }
    }
}

/// With up to a quarter more, so that many do not come back at one moment.
async fn pause_for(time: Duration) {
    if time == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
}

fn told(ended: &Result<crate::wire::Frame, CallError>) -> String {
    match ended {
        Ok(answer) => match answer.error() {
            Some(error) => format!("it refused subscriptions/listen: {}", String::from_utf8_lossy(answer.text(error))),
            None => "it ended the stream".into(),
        },
        Err(error) => error.to_string(),
    }
}
