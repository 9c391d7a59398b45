//! Cuts a byte stream into lines, whatever the chunks; no line is ever copied, none grows memory past the limit.

use bytes::{Buf, Bytes, BytesMut};

/// Asked for at each read; a pipe holds this much.
const CHUNK: usize = 64 * 1024;
/// Less room than this and a new chunk is made.
const ROOM: usize = 8 * 1024;
/// A buffer that grew past this for one line is given back after it.
const KEEP: usize = 1024 * 1024;
/// Of an over-long line that is no message, this much is shown.
const SAMPLE: usize = 2048;

/// One line, blank at neither end; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Starts like JSON-RPC: `{` or `[`.
    Message(Bytes),
    /// Anything else; of an over-long one the start.
    Noise(Bytes),
    /// Started like a message and was longer than the limit: its bytes are gone. `id`: of the answer that it was, when the
    /// id stood near its start.
    Oversize { id: Option<u64> },
}

pub struct Lines {
    buffer: BytesMut,
    /// No newline before this offset: a line that comes in a thousand chunks is looked at once.
    scanned: usize,
    /// In the middle of a line that was given up.
    skipping: bool,
    limit: usize,
}

impl Lines {
    /// `limit`: the longest line in bytes, newline not counted.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, skipping: false, limit }
    }

    /// From the next line on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where the next bytes of the stream are to be appended.
    pub fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < ROOM {
            self.buffer.reserve(CHUNK);
        }
        &mut self.buffer
    }

    /// The next complete line, if there is one.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(newline) = self.find_newline() else { return self.incomplete() };
            let mut raw = self.buffer.split_to(newline);
            self.buffer.advance(1);
            self.scanned = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if newline > self.limit {
                return Some(self.given_up(&raw));
            }
            let blank = raw.len() - raw.trim_ascii_start().len();
            raw.advance(blank);
            raw.truncate(raw.trim_ascii_end().len());
            if let Some(line) = classify(raw.freeze()) {
                return Some(line);
            }
        }
    }

    /// What stands after the last newline when the stream has ended.
    pub fn rest(self) -> Option<Bytes> {
        let rest = self.buffer.trim_ascii();
        (!self.skipping && !rest.is_empty()).then(|| Bytes::copy_from_slice(rest))
    }

    /// Everything that came and was not given out, for whoever reads on.
    pub fn unread(self) -> Bytes {
        self.buffer.freeze()
    }

    fn find_newline(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', self.buffer.get(self.scanned..).unwrap_or_default());
        let newline = found.map(|at| self.scanned + at);
        self.scanned = self.buffer.len();
        newline
    }

    /// No newline in sight: gives up a line that is too long already, and memory that is not needed any more.
    fn incomplete(&mut self) -> Option<Line> {
        let too_long = self.buffer.len() > self.limit;
        if self.skipping || too_long {
            let raw = std::mem::take(&mut self.buffer);
            self.scanned = 0;
            let first = !std::mem::replace(&mut self.skipping, true);
            return first.then(|| self.given_up(&raw));
        }
        if self.buffer.capacity() > KEEP && self.buffer.len() < ROOM {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        None
    }

    fn given_up(&self, raw: &[u8]) -> Line {
        // Always the same bytes, however much had come when it was noticed.
        let sample = raw.get(..self.limit.min(SAMPLE)).unwrap_or(raw).trim_ascii();
        match sample.first() {
            None | Some(b'{' | b'[') => Line::Oversize { id: super::frame::answered_id(sample) },
            Some(_) => Line::Noise(Bytes::copy_from_slice(sample)),
        }
    }
}

fn classify(line: Bytes) -> Option<Line> {
    match line.first()? {
        b'{' | b'[' => Some(Line::Message(line)),
        _ => Some(Line::Noise(line)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(stream: &[u8], chunks: &[usize], limit: usize) -> (Vec<Line>, Option<Bytes>) {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        let (mut rest, mut sizes) = (stream, chunks.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            lines.room().extend_from_slice(now);
            out.extend(std::iter::from_fn(|| lines.next_line()));
            rest = later;
        }
        (out, lines.rest())
    }

    fn message(text: &'static str) -> Line {
        Line::Message(Bytes::from_static(text.as_bytes()))
    }

    fn noise(text: &'static str) -> Line {
        Line::Noise(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn blank_lines_are_skipped_and_noise_is_told_from_messages() {
        let stream = b"\n  \r\n{\"a\":1}\r\nhello\n \t[1] \n\x1b[31mred\nlast";
        let (lines, rest) = cut(stream, &[1], 100);
        assert_eq!(lines, [message("{\"a\":1}"), noise("hello"), message("[1]"), noise("\x1b[31mred")]);
        assert_eq!(rest.as_deref(), Some(&b"last"[..]));
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let (lines, _) = cut(b"{23456}\n{234567}\n{2}\nno message\n", &[3], 7);
        assert_eq!(lines, [message("{23456}"), Line::Oversize { id: None }, message("{2}"), noise("no mess")]);
    }

    #[test]
    fn a_line_without_end_holds_no_more_than_the_limit() {
        let mut lines = Lines::new(100_000);
        lines.room().extend_from_slice(b"{");
        let mut seen = Vec::new();
        for _ in 0..10_000 {
            lines.room().extend_from_slice(&[b'x'; 5000]);
            seen.extend(std::iter::from_fn(|| lines.next_line()));
            assert!(lines.buffer.capacity() < 400_000);
        }
        assert_eq!(seen, [Line::Oversize { id: None }]);
    }

    #[test]
    fn the_buffer_of_a_large_line_is_given_back() {
        let mut lines = Lines::new(20_000_000);
        let mut big = vec![b'{'; 10_000_000];
        big.push(b'\n');
        for chunk in big.chunks(CHUNK) {
            lines.room().extend_from_slice(chunk);
            while let Some(line) = lines.next_line() {
                assert!(matches!(line, Line::Message(text) if text.len() == 10_000_000));
            }
        }
        assert_eq!(lines.next_line(), None);
        assert!(lines.buffer.capacity() <= KEEP);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            stream in proptest::collection::vec(proptest::sample::select(b"{[ax\n\n \r}".to_vec()), 0..400),
            chunks in proptest::collection::vec(1usize..50, 1..20),
            limit in 1usize..40,
        ) {
            prop_assert_eq!(cut(&stream, &chunks, limit), cut(&stream, &[stream.len().max(1)], limit));
        }
    }
}
