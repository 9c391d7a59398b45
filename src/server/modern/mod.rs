//! The modern era, revision 2026-07-28: no handshake and no session; every request says who asks and what it can do.
//!
//! `introduction` reads that, `dispatch` serves, `ask` is for calls that need their client, `listen` is the one long request,
//! `finish` makes an answer a modern one. What HTTP headers say beside the body is checked by the HTTP front.

mod ask;
mod dispatch;
mod finish;
mod introduction;
mod listen;

pub(super) use finish::finish;
pub(super) use introduction::{speaks, version};
pub(super) use listen::Listen;

use crate::provider::LEGACY_VERSIONS;
pub use crate::wire::modern::VERSION;
pub(super) use crate::wire::modern::{code, key};

/// Newest first, both eras.
pub(super) fn versions() -> Vec<&'static str> {
    std::iter::once(VERSION).chain(LEGACY_VERSIONS).collect()
}
