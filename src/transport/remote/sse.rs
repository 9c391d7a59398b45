//! An incremental decoder of `text/event-stream` (WHATWG HTML, section 9.2). Pure: bytes in, events out; however the bytes
//! are cut, the events are the same. Owned by one response body.
//!
//! Bounded: an event of more than `limit` bytes of data is dropped and told as [`Decoded::Oversize`], and the decoder
//! goes on with the next event. Linear: every byte is looked at once.

#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// Longest `id:` that is remembered; it goes back in a request header.
const MAX_ID: usize = 1024;
const BOM: &[u8] = b"\xEF\xBB\xBF";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoded {
    Event(Event),
    /// The data of one event was longer than the limit.
    Oversize,
}

/// One dispatched event. Events without data are not dispatched (their `id:` and `retry:` count all the same).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// `event:`; empty means `message`.
    pub kind: String,
    /// The `data:` lines joined by LF.
    pub data: Bytes,
}

pub(super) struct Decoder {
    limit: usize,
    /// The start of a line whose end has not come yet.
    partial: Vec<u8>,
    /// The current line is too long to be kept; its rest is skipped.
    skipping: bool,
    /// The last byte was a CR, so an LF now ends no further line.
    after_cr: bool,
    first_line: bool,
    event: Pending,
    last_id: Option<String>,
    retry: Option<Duration>,
}

#[derive(Default)]
struct Pending {
    kind: String,
    data: BytesMut,
    /// A `data:` line came, be it an empty one.
    any: bool,
    oversize: Oversize,
    id: Option<String>,
}

/// Told once per event, as soon as it is known: the event may never end.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Oversize {
    #[default]
    No,
    Untold,
    Told,
}

impl Decoder {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            skipping: false,
            after_cr: false,
            first_line: true,
            event: Pending::default(),
            last_id: None,
            retry: None,
        }
    }

    /// The id of the last complete event that had one.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The last `retry:`.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes the next bytes; `out` gets the events that they complete.
    pub(super) fn feed(&mut self, chunk: &[u8], out: &mut impl Extend<Decoded>) {
        let mut rest = chunk;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.keep(rest);
                self.tell_oversize(out);
                return;
            };
            let (line, tail) = rest.split_at(end);
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.end_line(line, out);
            self.tell_oversize(out);
        }
    }

    fn tell_oversize(&mut self, out: &mut impl Extend<Decoded>) {
        if self.event.oversize == Oversize::Untold {
            self.event.oversize = Oversize::Told;
            out.extend([Decoded::Oversize]);
        }
    }

    /// A field name and its separators fit in the slack.
    fn longest_line(&self) -> usize {
        self.limit + 64
    }

    /// Stores a piece of a line that has no end yet.
    fn keep(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        if self.partial.len() + piece.len() > self.longest_line() {
            // Too long a comment harms nobody; anything else is (almost surely) data and spoils its event.
            if self.partial.first().or(piece.first()) != Some(&b':') {
                self.event.outgrew();
            }
            self.partial = Vec::new();
            self.skipping = true;
            return;
        }
        self.partial.extend_from_slice(piece);
    }

    fn end_line(&mut self, end: &[u8], out: &mut impl Extend<Decoded>) {
        if !self.partial.is_empty() || end.len() > self.longest_line() {
            self.keep(end);
        }
        if std::mem::take(&mut self.skipping) {
            self.first_line = false;
        } else if self.partial.is_empty() {
            self.line(end, out);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            self.line(&whole, out);
            // Keeps the buffer for the next partial line, unless it grew large.
            if whole.capacity() <= 64 * 1024 {
                whole.clear();
                self.partial = whole;
            }
        }
    }

    fn line(&mut self, mut line: &[u8], out: &mut impl Extend<Decoded>) {
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(out);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(0) => return,
            Some(at) => {
                let (field, value) = line.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"data" => self.data(value),
            b"event" => self.event.kind = String::from_utf8_lossy(value.get(..MAX_ID).unwrap_or(value)).into_owned(),
            b"id" => self.id(value),
            b"retry" => self.reconnection_time(value),
            _ => {}
        }
    }

    fn data(&mut self, value: &[u8]) {
        let event = &mut self.event;
        if event.oversize != Oversize::No {
            return;
        }
        let newline = usize::from(event.any);
        if event.data.len() + newline + value.len() > self.limit {
            return event.outgrew();
        }
        if event.any {
            event.data.extend_from_slice(b"\n");
        }
        event.any = true;
        event.data.extend_from_slice(value);
    }

    fn id(&mut self, value: &[u8]) {
        if value.len() <= MAX_ID && !value.contains(&0) {
            self.event.id = Some(String::from_utf8_lossy(value).into_owned());
        }
    }

    fn reconnection_time(&mut self, value: &[u8]) {
        if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
            let ms = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            self.retry = ms.map(Duration::from_millis).or(self.retry);
        }
    }

    fn dispatch(&mut self, out: &mut impl Extend<Decoded>) {
        let event = std::mem::take(&mut self.event);
        if let Some(id) = event.id {
            // An empty id means "forget the id".
            self.last_id = Some(id).filter(|id| !id.is_empty());
        }
        if event.oversize == Oversize::No && !event.data.is_empty() {
            out.extend([Decoded::Event(Event { kind: event.kind, data: event.data.freeze() })]);
        }
    }
}

impl Pending {
    fn outgrew(&mut self) {
        self.data = BytesMut::new();
        if self.oversize == Oversize::No {
            self.oversize = Oversize::Untold;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[&[u8]], limit: usize) -> (Vec<Decoded>, Option<String>, Option<Duration>) {
        let mut decoder = Decoder::new(limit);
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.feed(chunk, &mut out);
        }
        (out, decoder.last_id.clone(), decoder.retry)
    }

    fn event(kind: &str, data: &str) -> Decoded {
        Decoded::Event(Event { kind: kind.into(), data: Bytes::copy_from_slice(data.as_bytes()) })
    }

    #[test]
    fn every_field_and_every_line_end() {
        let text = b"\xEF\xBB\xBF: hello\r\nevent: endpoint\rdata: a\ndata:b\r\ndata\nid: 7\n\nretry: 250\nretry: x\ndata:  c\n\r\n";
        let (events, id, retry) = decode(&[text], 1000);
        assert_eq!(events, [event("endpoint", "a\nb\n"), event("", " c")]);
        assert_eq!(id.as_deref(), Some("7"));
        assert_eq!(retry, Some(Duration::from_millis(250)));
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_dispatched() {
        assert_eq!(decode(&[b"id: 3\ndata: half\n"], 1000), (vec![], None, None));
    }

    #[test]
    fn an_id_without_data_counts() {
        let (events, id, _) = decode(&[b"id: prime\ndata:\n\n"], 1000);
        assert_eq!((events, id.as_deref()), (vec![], Some("prime")));
    }

    #[test]
    fn too_long_an_event_is_dropped_and_the_next_one_lives() {
        let long = [b"data: ".as_slice(), &[b'x'; 500], b"\n\n"].concat();
        let many = b"data: 12345678\ndata: 12345678\n\n";
        let (events, ..) = decode(&[&long, many, b"data: ok\n\n"], 10);
        assert_eq!(events, [Decoded::Oversize, Decoded::Oversize, event("", "ok")]);
        let bytewise: Vec<&[u8]> = long.chunks(1).collect();
        assert_eq!(decode(&bytewise, 10).0, [Decoded::Oversize]);
    }

    #[test]
    fn too_long_an_event_is_told_before_it_ends() {
        assert_eq!(decode(&[b"data: 12345678", &[b'x'; 500], &[b'x'; 500]], 10).0, [Decoded::Oversize]);
    }

    #[test]
    fn too_long_a_comment_spoils_nothing() {
        let comment = [b"data: ok\n:".as_slice(), &[b'x'; 500], b"\n\n"].concat();
        let bytewise: Vec<&[u8]> = comment.chunks(3).collect();
        assert_eq!(decode(&bytewise, 10).0, [event("", "ok")]);
    }

    proptest! {
        /// Whatever the bytes and however they are cut.
        #[test]
        fn chunking_changes_nothing(
            lines in prop::collection::vec("(data|event|id|retry|:|x|\u{FEFF})?:? ?([a-z0-9]{0,12}|x{90,100})", 0..20),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n"]), 20),
            cuts in prop::collection::vec(1usize..9, 1..40),
        ) {
            let text: String = lines.iter().zip(&ends).flat_map(|(l, e)| [l.as_str(), e]).collect();
            let mut chunks = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            prop_assert_eq!(decode(&chunks, 30), decode(&[text.as_bytes()], 30));
        }

        /// Against the standard's own words, read slowly.
        #[test]
        fn data_is_what_was_sent(parts in prop::collection::vec("[ -~]{1,20}", 1..5), end in prop::sample::select(vec!["\n", "\r", "\r\n"])) {
            let mut text = String::new();
            for part in &parts {
                text.push_str("data: ");
                text.push_str(part);
                text.push_str(end);
            }
            text.push_str(end);
            prop_assert_eq!(decode(&[text.as_bytes()], 1000).0, [event("", &parts.join("\n"))]);
        }
    }
}
