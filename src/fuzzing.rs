//! What `fuzz/` and `tests/fuzz.rs` run: one function for each parser that strangers' bytes reach. Each takes any bytes and panics
//! when a law is broken. Not part of the library.

pub use crate::{
    bridge::request_state,
    server::http::fuzz::headers,
    transport::sse,
    wire::fuzz::{envelope, lines},
};

/// The name of the folder of its corpus, `fuzz/corpus/NAME`, and the laws.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 5] =
    [("envelope", envelope), ("headers", headers), ("lines", lines), ("request_state", request_state), ("sse", sse)];
