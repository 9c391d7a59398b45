//! In which way a session was offered tools the last time, so that it is told when that is another one.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::config::Expose;

/// As it is handed on to the gateway's next life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Exposed {
    /// It has not listed tools, so there is nothing it could be wrong about.
    Never,
    /// Also what sessions had of lives that knew no other way.
    #[default]
    Direct,
    Search,
    Both,
}

pub(super) struct LastExposed(AtomicU8);

const ALL: [Exposed; 4] = [Exposed::Never, Exposed::Direct, Exposed::Search, Exposed::Both];

impl Exposed {
    pub fn as_expose(self) -> Option<Expose> {
        match self {
            Self::Never => None,
            Self::Direct => Some(Expose::Direct),
            Self::Search => Some(Expose::Search),
            Self::Both => Some(Expose::Both),
        }
    }
}

impl From<Expose> for Exposed {
    fn from(expose: Expose) -> Self {
        match expose {
            Expose::Direct => Self::Direct,
            Expose::Search => Self::Search,
            Expose::Both => Self::Both,
        }
    }
}

impl Default for LastExposed {
    fn default() -> Self {
        Self(AtomicU8::new(Exposed::Never as u8))
    }
}

impl LastExposed {
    pub fn set(&self, expose: Expose) {
        self.resume(expose.into());
    }

    pub fn resume(&self, exposed: Exposed) {
        self.0.store(exposed as u8, Ordering::Relaxed);
    }

    pub fn get(&self) -> Exposed {
        ALL.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or_default()
    }
}
