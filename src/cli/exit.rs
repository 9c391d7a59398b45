//! What a command can end with. CONTRACT section 5; a script may rely on every number.

use std::process::ExitCode;

/// In order: of several outcomes the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Exit {
    Ok = 0,
    /// Something is unhealthy, a tool answered with an error, or a difference was found.
    Found = 1,
    Usage = 2,
    ConfigInvalid = 3,
    NotReached = 4,
    /// The gateway was reached and said no.
    Refused = 5,
    Internal = 70,
}

/// An error whose exit code is known where it arises; any other is [`Exit::Internal`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub exit: Exit,
    pub message: String,
}

/// For `?`.
pub(super) fn fail<T>(exit: Exit, message: impl Into<String>) -> anyhow::Result<T> {
    Err(Failure { exit, message: message.into() }.into())
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
