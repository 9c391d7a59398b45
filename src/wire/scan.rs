//! One pass over JSON text: validates it and says where each value begins and ends. Builds nothing.
//!
//! Own code because the house needs three things at once that no parser gives: byte positions of values, a depth limit on
//! text that is kept raw, and every key as typed (duplicates included).

use std::{borrow::Cow, ops::Range};

/// A byte range of the text it was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// Why a text is no JSON that we take, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} at byte {at}")]
pub struct Malformed {
    pub at: usize,
    pub why: &'static str,
}

/// A cursor over `text`. Invariant: `at <= text.len()`.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    depth: u32,
    max_depth: u32,
}

/// What a key or string value looks like between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct StringSpan {
    /// Without the quotes.
    pub inner: Span,
    pub escaped: bool,
}

impl Span {
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of this span; empty when it does not lie in `text`.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.range()).unwrap_or_default()
    }

    pub(super) fn new(start: usize, end: usize) -> Self {
        // Texts are limited to 16 MiB long before they reach the scanner; saturate rather than wrap.
        let cut = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: cut(start), end: cut(end) }
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8], max_depth: u32) -> Self {
        Self { text, at: 0, depth: 0, max_depth }
    }

    pub(super) fn at(text: &'a [u8], at: usize, max_depth: u32) -> Self {
        Self { text, at, depth: 0, max_depth }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn fail<T>(&self, why: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, why })
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    pub(super) fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.fail(why)
        }
    }

    /// Only white space may be left.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fail("text after the end of the JSON value") }
    }

    /// Skips one value, white space before it included; gives its place.
    pub(super) fn value(&mut self) -> Result<Span, Malformed> {
        self.space();
        let start = self.at;
        match self.peek() {
            Some(b'{') => self.object(|scanner, _| scanner.value().map(drop))?,
            Some(b'[') => self.array(|scanner| scanner.value().map(drop))?,
            Some(b'"') => drop(self.string()?),
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => return self.fail("not a JSON value"),
            None => return self.fail("the text ends where a value should be"),
        }
        Ok(Span::new(start, self.at))
    }

    /// Walks an object; `field` gets each key and must consume the value.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, StringSpan) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.enter(b'{', "an object should begin here")?;
        self.space();
        if self.peek() == Some(b'}') {
            return self.leave();
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(b':', "a colon should follow the key")?;
            field(self, key)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.leave(),
                _ => return self.fail("a comma or a closing brace should be here"),
            }
        }
    }

    /// Walks an array; `element` must consume one value.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.enter(b'[', "an array should begin here")?;
        self.space();
        if self.peek() == Some(b']') {
            return self.leave();
        }
        loop {
            element(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => return self.leave(),
                _ => return self.fail("a comma or a closing bracket should be here"),
            }
        }
    }

    fn enter(&mut self, open: u8, why: &'static str) -> Result<(), Malformed> {
        self.expect(open, why)?;
        self.depth += 1;
        if self.depth > self.max_depth { self.fail("nested too deeply") } else { Ok(()) }
    }

    fn leave(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    pub(super) fn string(&mut self) -> Result<StringSpan, Malformed> {
        self.expect(b'"', "a string should begin here")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(run) = plain_run(rest) else {
                self.at = self.text.len();
                return self.fail("a string does not end");
            };
            self.at += run;
            match rest.get(run) {
                Some(b'"') => {
                    let inner = Span::new(start, self.at);
                    self.at += 1;
                    return Ok(StringSpan { inner, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.fail("a control character in a string"),
            }
        }
    }

    /// At a backslash.
    fn escape(&mut self) -> Result<(), Malformed> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail("a bad unicode escape");
                }
                self.at += 6;
            }
            _ => return self.fail("a bad escape"),
        }
        Ok(())
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Malformed> {
        if self.text.get(self.at..self.at + word.len()) == Some(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.fail("not a JSON value")
        }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.fail("a digit should be here") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }
}

/// Where the first byte of `text` stands that is not plain text of a string: a quote, a backslash, a control character.
fn plain_run(text: &[u8]) -> Option<usize> {
    // Keys and most values end within a few bytes; the rest is looked at in steps as wide as the machine's.
    const SHORT: usize = 32;
    let (head, tail) = text.split_at(text.len().min(SHORT));
    if let Some(at) = head.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\') {
        return Some(at);
    }
    let end = memchr::memchr2(b'"', b'\\', tail);
    let run = end.and_then(|end| tail.get(..end)).unwrap_or(tail);
    // Without a way out of the loop the compiler makes vector code of it.
    let control = run.iter().fold(false, |found, &b| found | (b < 0x20));
    let first = if control { run.iter().position(|&b| b < 0x20) } else { end };
    first.map(|at| head.len() + at)
}

/// The text between the quotes, escapes resolved. `None` when an escape is a lone surrogate.
pub(super) fn unescape<'a>(text: &'a [u8], string: StringSpan) -> Option<Cow<'a, str>> {
    let inner = string.inner.of(text);
    if !string.escaped {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    let quoted = text.get(string.inner.start as usize - 1..string.inner.end as usize + 1)?;
    serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_special_byte_wherever_it_stands() {
        let special = |&b: &u8| b < 0x20 || b == b'"' || b == b'\\';
        for length in 0..100 {
            for (at, byte) in (0..length).flat_map(|at| [b'"', b'\\', 0x1f, 0, 0x7f, 0xff].map(|byte| (at, byte))) {
                let mut text = vec![b'x'; length];
                text[at] = byte;
                // A second one behind it must not be found instead.
                text.extend_from_slice(b"x\n\"");
                assert_eq!(plain_run(&text), text.iter().position(special), "{byte:#x} at {at} of {length}");
            }
            assert_eq!(plain_run(&vec![b' '; length]), None);
        }
    }
}
