//! What one check has to say.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Something is wrong.
    Found,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, message: message.into(), help: None }
    }

    pub(super) fn note(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Note, message: message.into(), help: None }
    }

    pub(super) fn found(check: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Found, message: message.into(), help: Some(help.into()) }
    }
}
