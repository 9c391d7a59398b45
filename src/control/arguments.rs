//! Arguments of the gateway's own tools, read strictly: a misspelt one is an error, not a default.

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::outcome::Outcome;
use crate::{
    provider::ProviderState,
    reload::ReloadOptions,
    wire::{Frame, Span, shallow},
};

/// Where they stand in the client's message.
pub struct Arguments<'a> {
    pub frame: &'a Frame,
    pub place: Option<Span>,
}

impl Arguments<'_> {
    /// Raw JSON; `{}` when there are none.
    pub fn raw(&self) -> &[u8] {
        match self.place.map(|place| self.frame.text(place)) {
            None | Some(b"null") => b"{}",
            Some(text) => text,
        }
    }

    /// The caller's, raw JSON, if it wants to hear of progress.
    pub fn progress_token(&self) -> Option<Bytes> {
        let (frame, path) = (self.frame, ["_meta", "progressToken"]);
        let place = shallow::path(frame.bytes(), frame.params()?, &path).ok()??;
        let token = frame.bytes().slice(place.range());
        token.first().is_some_and(|first| *first == b'"' || *first == b'-' || first.is_ascii_digit()).then_some(token)
    }

    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Outcome> {
        let raw = self.raw();
        // A derived struct would take an array for an object.
        if !raw.starts_with(b"{") {
            return Err(refusal("the arguments are not an object"));
        }
        serde_json::from_slice(raw).map_err(|error| refusal(&error.to_string()))
    }
}

pub fn refusal(why: &str) -> Outcome {
    Outcome::error("invalid_arguments", format!("the arguments do not fit the tool's inputSchema: {why}"), json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoArguments {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct One {
    pub provider: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneGroup {
    pub group: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub state_filter: Option<ProviderState>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub filter: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warm {
    pub providers: Option<Names>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Names {
    List(Vec<String>),
    Text(String),
}

impl Names {
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::List(names) => names,
            Self::Text(text) => text.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    pub query: String,
    pub limit: Option<u32>,
    /// The input schemas too.
    pub schemas: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    pub provider: String,
    pub tools: Option<Names>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadArguments {
    graceful: Option<bool>,
    dry_run: Option<bool>,
    verify: Option<bool>,
}

impl From<ReloadArguments> for ReloadOptions {
    fn from(arguments: ReloadArguments) -> Self {
        let ReloadArguments { graceful, dry_run, verify } = arguments;
        Self { graceful: graceful.unwrap_or(true), dry_run: dry_run.unwrap_or(false), verify: verify.unwrap_or(false) }
    }
}
