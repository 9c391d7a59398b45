//! Names of the revision without handshake and session, as both sides of the gateway need them.

pub const VERSION: &str = "2026-07-28";

/// Reserved keys of `_meta`.
pub mod key {
    pub const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    pub const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    pub const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// In both eras: the task that a message is about.
    pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
    pub const SERVER: &str = "io.modelcontextprotocol/serverInfo";
}

/// Extensions that the gateway has a part in.
pub mod extension {
    pub const TASKS: &str = "io.modelcontextprotocol/tasks";
}

/// Error codes that it has added.
pub mod code {
    pub const HEADER_MISMATCH: i32 = -32020;
    pub const MISSING_CAPABILITY: i32 = -32021;
    pub const UNSUPPORTED_VERSION: i32 = -32022;
}
