//! JSON-RPC over raw bytes: the envelope is read, a few places are changed, everything else is copied.
//!
//! `scan` finds places, `shallow` looks one level in and splices, `frame` is one message, `compose` writes our own, `hex` is for
//! bytes where only text may stand, `mac` for what nobody else may have written.
//! `hello` is what is said first on the connect socket.

mod compose;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
pub mod hello;
pub mod hex;
mod lines;
mod mac;
pub mod modern;
mod scan;
pub mod shallow;

use std::sync::atomic::{AtomicU32, Ordering};

pub use compose::{code, error, notification, request, result, to_json};
pub use frame::{Frame, FrameError, FrameKind};
pub use lines::{Line, Lines};
pub use mac::{Mac, same};
pub use scan::{Malformed, Span};
pub use shallow::{DuplicateKey, Splice};

/// Deepest nesting that can be set; places in a text that was taken are looked up within this.
const DEEPEST: u32 = 128;

/// Of the process, for every message it reads: what is read knows nothing of whose configuration is in force.
static MAX_DEPTH: AtomicU32 = AtomicU32::new(64);

/// Deepest nesting taken, the message itself included. CONTRACT section 8.
pub fn max_depth() -> u32 {
    MAX_DEPTH.load(Ordering::Relaxed)
}

/// From now on; at most 128.
pub fn set_max_depth(depth: u32) {
    MAX_DEPTH.store(depth.min(DEEPEST), Ordering::Relaxed);
}

/// A message fit for one line: newlines between tokens (the only place JSON allows them raw) become spaces.
pub fn one_line(message: bytes::Bytes) -> bytes::Bytes {
    if memchr::memchr2(b'\n', b'\r', &message).is_none() {
        return message;
    }
    message.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests;
