//! What the two output streams of a server mean, however their bytes come: a line of stdout is a message or noise, a line
//! of stderr is for the ring. Owned by whoever reads the streams.

use bytes::BytesMut;

use super::{Inbound, OutputRing, TransportError};
use crate::wire::Line;

/// Of one line of stderr, this much is taken.
const STDERR_LINE: usize = 2048;
const STDERR_CHUNK: usize = 64 * 1024;

/// One line of stdout to whom it concerns. `limit`: of the lines.
pub(super) fn deliver(line: Line, limit: usize, inbound: &dyn Inbound, output: &OutputRing) {
    match line {
        Line::Message(json) => inbound.message(json, None),
        Line::Noise(text) => output.noise(&text),
        Line::Oversize { id } => inbound.failed(id, TransportError::Oversize { limit }),
    }
}

/// The line of stderr that is not complete yet, cut at [`STDERR_LINE`].
#[derive(Default)]
pub(super) struct StderrTail {
    chunk: BytesMut,
    partial: Vec<u8>,
}

impl StderrTail {
    pub(super) fn room(&mut self) -> &mut BytesMut {
        self.chunk.clear();
        self.chunk.reserve(STDERR_CHUNK);
        &mut self.chunk
    }

    /// Only the last lines of a chunk that holds more than the ring does are looked at: the others would be gone by the
    /// end of it anyway. So a flood costs one scan for newlines, and the ring is exactly what it would have been.
    pub(super) fn take(&mut self, output: &OutputRing) {
        let chunk = std::mem::take(&mut self.chunk);
        let mut rest: &[u8] = &chunk;
        if let Some(at) = memchr::memrchr_iter(b'\n', rest).nth(OutputRing::LINES) {
            let (skipped, kept) = rest.split_at(at + 1);
            output.skipped(memchr::memchr_iter(b'\n', skipped).count());
            self.partial.clear();
            rest = kept;
        }
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            let (line, later) = rest.split_at(newline);
            if self.partial.is_empty() {
                output.stderr(line);
            } else {
                self.append(line);
                output.stderr(&self.partial);
                self.partial.clear();
            }
            rest = later.get(1..).unwrap_or_default();
        }
        self.append(rest);
        self.chunk = chunk;
    }

    fn append(&mut self, part: &[u8]) {
        let room = STDERR_LINE.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    pub(super) fn finish(&self, output: &OutputRing) {
        if !self.partial.is_empty() {
            output.stderr(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_after(stream: &[u8], chunk: usize) -> OutputRing {
        let output = OutputRing::default();
        let mut tail = StderrTail::default();
        for part in stream.chunks(chunk) {
            tail.room().extend_from_slice(part);
            tail.take(&output);
        }
        tail.finish(&output);
        output
    }

    #[test]
    fn the_ring_is_the_same_whether_lines_are_skipped_or_not() {
        let stream: String = (0..5000).map(|i| format!("line {i}\n")).collect();
        let (in_one, in_many) = (ring_after(stream.as_bytes(), stream.len()), ring_after(stream.as_bytes(), 7));
        assert_eq!(in_one.tail(1000), in_many.tail(1000));
        assert_eq!(in_one.tail(1), ["line 4999"]);
        assert_eq!((in_one.since(0).1, in_many.since(0).1), (5000, 5000));
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_last_one_without_newline_is_kept() {
        let mut stream = vec![b'x'; 1_000_000];
        stream.extend_from_slice(b"\nthe end");
        let output = ring_after(&stream, 64 * 1024);
        assert_eq!(output.tail(10), [&"x".repeat(STDERR_LINE), "the end"]);
    }
}
