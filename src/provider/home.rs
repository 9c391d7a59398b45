//! Where a client is at home: what its own instances of `sharing: session` providers belong to, and end with.

use tokio_util::sync::CancellationToken;

use super::ClientId;

#[derive(Debug, Clone)]
pub struct Home {
    pub id: ClientId,
    pub kind: HomeKind,
    /// Fires when it is gone.
    pub over: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HomeKind {
    /// A client of the legacy era: all that is said in its session is for it.
    Session,
    /// The connection of a client whose every request stands for itself.
    Connection,
    /// One such request that nothing connects to any other.
    Call,
}
