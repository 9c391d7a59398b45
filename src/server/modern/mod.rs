//! The modern era, revision 2026-07-28: no handshake and no session; every request says who asks and what it can do.
//!
//! `introduction` reads that, `dispatch` serves, `ask` is for calls that need their client, `listen` is the one long request, `finish` makes an answer a modern one. What
//! HTTP headers say beside the body is checked by the HTTP front.

mod ask;
mod dispatch;
mod finish;
mod introduction;
mod listen;

pub(super) use finish::finish;
pub(super) use introduction::{speaks, version};
pub(super) use listen::Listen;

use crate::provider::LEGACY_VERSIONS;

pub const VERSION: &str = "2026-07-28";

/// Reserved keys of `_meta`.
pub(super) mod key {
    pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
}

/// Error codes that this era has added.
pub(super) mod code {
    pub const HEADER_MISMATCH: i32 = -32020;
    pub const MISSING_CAPABILITY: i32 = -32021;
    pub const UNSUPPORTED_VERSION: i32 = -32022;
}

/// Newest first, both eras.
pub(super) fn versions() -> Vec<&'static str> {
    std::iter::once(VERSION).chain(LEGACY_VERSIONS).collect()
}
