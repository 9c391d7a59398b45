//! Tells the caller of `hangar_start` how far a pull has come, where it gave a progress token.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::arguments::Arguments;
use crate::{
    provider::Caller,
    transport::Pull,
    wire::{self, shallow},
};

/// Between two notifications about one start.
const EVERY: Duration = Duration::from_millis(200);

pub(super) struct Progress {
    caller: Caller,
    /// Raw JSON.
    token: Bytes,
    /// What was told last, and when: the number has to grow.
    told: Option<(u64, Instant)>,
}

impl Progress {
    /// `None`: nobody wants to hear of it.
    pub(super) fn wanted(arguments: &Arguments<'_>, caller: Caller) -> Option<Self> {
        Some(Self { caller, token: arguments.progress_token()?, told: None })
    }

    pub(super) fn tell(&mut self, pull: &Pull) {
        // A layer counts like one byte more, so that something moves while they are unpacked, too.
        let layers = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let progress = pull.bytes.saturating_add(layers(pull.layers_done));
        let total = pull.bytes_total.saturating_add(layers(pull.layers));
        if self.told.is_some_and(|(told, at)| progress <= told || at.elapsed() < EVERY && !pull.done) {
            return;
        }
        self.told = Some((progress, Instant::now()));
        let Pull { image, layers, layers_done, bytes, bytes_total, .. } = pull;
        let text = format!("pulling {image}: {layers_done} of {layers} layers, {bytes} of {bytes_total} bytes");
        let total = if total >= progress { format!(",\"total\":{total}") } else { String::new() };
        let numbers = format!(",\"progress\":{progress}{total},\"message\":");
        let parts = [b"{\"progressToken\":", &self.token[..], numbers.as_bytes(), &shallow::quote(&text), b"}"];
        // One that does not read misses it.
        self.caller.relay.send(wire::notification("notifications/progress", &parts.concat()));
    }
}
