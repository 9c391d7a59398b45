//! Env files: `NAME=value` lines.
//!
//! `export` in front is allowed, `#` begins a comment (in a line of its own, or after a blank behind an unquoted value).
//! `'...'` is taken as it is; in `"..."` the escapes `\n \r \t \" \\ \$` are known. Quoted values may go over several
//! lines. Nothing is expanded. Of two lines for one name the later one counts.

use std::collections::BTreeMap;

/// A line that cannot be understood. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotenvFault {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    pub message: &'static str,
}

/// All variables, and all lines that make none.
pub fn parse(text: &str) -> (BTreeMap<String, String>, Vec<DotenvFault>) {
    let mut vars = BTreeMap::new();
    let mut faults = Vec::new();
    let mut scan = Scan { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1, column: 1 };
    while !scan.rest.is_empty() {
        match scan.entry() {
            Ok(Some((name, value))) => {
                vars.insert(name, value);
            }
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
        scan.skip_line();
    }
    (vars, faults)
}

struct Scan<'t> {
    rest: &'t str,
    line: u32,
    column: u32,
}

impl<'t> Scan<'t> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, good: impl Fn(char) -> bool) -> &'t str {
        let start = self.rest;
        while self.rest.starts_with(&good) {
            self.next();
        }
        start.get(..start.len() - self.rest.len()).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.take_while(is_blank);
    }

    fn skip_line(&mut self) {
        self.take_while(|c| c != '\n');
        self.next();
    }

    fn fault(&self, message: &'static str) -> DotenvFault {
        DotenvFault { line: self.line, column: self.column, message }
    }

    fn entry(&mut self) -> Result<Option<(String, String)>, DotenvFault> {
        self.skip_blanks();
        if self.rest.is_empty() || self.rest.starts_with(['\n', '#']) {
            return Ok(None);
        }
        if self.rest.strip_prefix("export").is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            self.take_while(|c| c.is_ascii_alphabetic());
            self.skip_blanks();
        }
        let start = self.fault("expected NAME=value; a name is letters, digits, `_`, `.` and `-`");
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        self.skip_blanks();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !self.rest.starts_with('=') {
            return Err(start);
        }
        self.next();
        self.skip_blanks();
        let value = match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
            _ => self.bare(),
        };
        if value.contains('\0') {
            return Err(start_of(&start, "the value holds a NUL character"));
        }
        Ok(Some((name.to_owned(), value)))
    }

    fn bare(&mut self) -> String {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let comment =
            |(at, _): &(usize, &str)| *at == 0 || line.get(..*at).is_some_and(|before| before.ends_with(is_blank));
        let end = line.match_indices('#').find(comment).map_or(line.len(), |(at, _)| at);
        line.get(..end).unwrap_or_default().trim().to_owned()
    }

    fn quoted(&mut self, quote: char) -> Result<String, DotenvFault> {
        let unclosed = self.fault("a quote is never closed");
        self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                None => return Err(unclosed),
                Some(c) if c == quote => break,
                Some('\\') if quote == '"' => match self.next() {
                    Some('n') => out.push('\n'),
                    Some('r') => out.push('\r'),
                    Some('t') => out.push('\t'),
                    Some(c @ ('"' | '\\' | '$')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => return Err(unclosed),
                },
                Some(c) => out.push(c),
            }
        }
        self.skip_blanks();
        if self.rest.is_empty() || self.rest.starts_with(['\n', '#']) {
            Ok(out)
        } else {
            Err(self.fault("nothing but a comment may follow the closing quote"))
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn start_of(at: &DotenvFault, message: &'static str) -> DotenvFault {
    DotenvFault { message, ..at.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_line() {
        let text = "\u{feff}# head\nA=1\r\nexport B = two words # no\nC='a # b'\nD=\"x\\ny\\q\" # c\nE=\nF=a#b\nG=\"l1\nl2\"\nA=2\nH=$A\nexport=1\n";
        let (vars, faults) = parse(text);
        assert_eq!(faults, vec![]);
        let want = [
            ("A", "2"),
            ("B", "two words"),
            ("C", "a # b"),
            ("D", "x\ny\\q"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "l1\nl2"),
            ("H", "$A"),
            ("export", "1"),
        ];
        assert_eq!(vars, want.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn every_bad_line_is_told_with_its_place() {
        let (vars, faults) = parse("novalue\n  1A=x\n=x\nA='b' c\nB=ok\nC=\"open\n");
        assert_eq!(vars.into_keys().collect::<Vec<_>>(), ["B"]);
        let places: Vec<_> = faults.iter().map(|f| (f.line, f.column)).collect();
        assert_eq!(places, [(1, 1), (2, 3), (3, 1), (4, 7), (6, 3)]);
    }
}
