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

pub use compose::{code, error, notification, request, result, to_json};
pub use frame::{Frame, FrameError, FrameKind};
pub use lines::{Line, Lines};
pub use mac::{Mac, same};
pub use scan::{Malformed, Span};
pub use shallow::{DuplicateKey, Splice};

/// Deepest nesting taken, the message itself included. CONTRACT section 8.
pub const MAX_DEPTH: u32 = 64;

/// A message fit for one line: newlines between tokens (the only place JSON allows them raw) become spaces.
pub fn one_line(message: bytes::Bytes) -> bytes::Bytes {
    if memchr::memchr2(b'\n', b'\r', &message).is_none() {
        return message;
    }
    message.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests;
