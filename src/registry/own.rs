//! The gateway's own tools, as far as the floors that route calls must know them.

use std::{future::Future, pin::Pin};

use bytes::Bytes;

use crate::{
    provider::{Caller, Item},
    wire::{Frame, Span},
};

/// Answers calls of the `hangar_*` tools. Implemented by `control`, called by `server`.
pub trait OwnTools: Send + Sync + 'static {
    /// Everything `tools/list` shows of them.
    fn items(&self) -> &[Item];

    /// The result (raw JSON of a CallToolResult) of `name` with `arguments` (a place in `frame`). `None`: no such tool.
    fn call<'a>(
        &'a self,
        name: &'a str,
        frame: &'a Frame,
        arguments: Option<Span>,
        caller: Caller,
    ) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + 'a>>;
}
