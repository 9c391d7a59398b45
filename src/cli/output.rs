//! The one writer of results. Results go to stdout, everything else to stderr; a reader of stdout that went away
//! (`| head`) ends the output quietly.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Longest free text in a table, in characters.
const CELL: usize = 100;

/// Where a command's result goes, and how.
pub(super) struct Out {
    /// The caller wants JSON.
    pub json: bool,
    paint: bool,
    terminal: bool,
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

/// Left-aligned columns, two spaces apart; the last one is not padded.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<(String, Colour)>>,
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { json, paint: terminal && wants_colour(), terminal, gone: false }
    }

    /// One line of text.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        self.write(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// One JSON document, for people to read as well.
    pub(super) fn document(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.write(text.as_bytes())
    }

    pub(super) fn table(&mut self, table: &Table) -> anyhow::Result<()> {
        let text = table.render(|text, colour| self.paint(text, colour));
        self.write(text.as_bytes())
    }

    /// What somebody else wrote: to a terminal without what would control it.
    pub(super) fn foreign(&mut self, text: &str) -> anyhow::Result<()> {
        if self.terminal { self.line(tame(text)) } else { self.line(text) }
    }

    pub(super) fn paint(&self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::Plain => return text.to_owned(),
            _ if !self.paint => return text.to_owned(),
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.gone {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            result => result.map_err(|error| anyhow::anyhow!("stdout cannot be written to: {error}")),
        }
    }
}

impl Table {
    pub(super) fn with_header(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|column| ((*column).to_owned(), Colour::Bold)).collect()] }
    }

    /// Control characters, line ends among them, become spaces: a cell is one line.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = (String, Colour)>) {
        let tame = |c: char| if c.is_control() { ' ' } else { c };
        let cells = cells.into_iter().map(|(text, colour)| (text.chars().map(tame).collect(), colour));
        self.rows.push(cells.collect());
    }

    fn render(&self, paint: impl Fn(&str, Colour) -> String) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut gap = 0;
            for ((text, colour), width) in row.iter().zip(&widths) {
                line.push_str(&" ".repeat(gap));
                // Trailing blanks would only be noise.
                line.push_str(&if text.is_empty() { String::new() } else { paint(text, *colour) });
                gap = width - text.chars().count() + 2;
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// What went wrong, on stderr. A provider's own words may be part of it.
pub(super) fn complain(error: &anyhow::Error) {
    let text = format!("hangar: {error:#}");
    eprintln!("{}", if io::stderr().is_terminal() { tame(&text) } else { text });
}

/// Without what would control a terminal.
fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// What fits into a cell beside others.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() > CELL { text.chars().take(CELL - 1).chain(['…']).collect() } else { text.to_owned() }
}

/// <https://no-color.org>: set and not empty.
fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_control_a_terminal() {
        assert_eq!(tame("a\x1b[2J\r\n\tb\u{9b}"), "a\u{fffd}[2J\u{fffd}\n\tb\u{fffd}");
        assert_eq!(shortened(&"ü".repeat(100)), "ü".repeat(100));
        assert_eq!(shortened(&"ü".repeat(101)), "ü".repeat(99) + "…");
    }

    #[test]
    fn columns_are_aligned_whatever_the_colour() {
        let mut table = Table::with_header(&["NAME", "STATE", "NOTE"]);
        table.row([("a".into(), Colour::Plain), ("ready".into(), Colour::Green), ("x\ny\x1b".into(), Colour::Plain)]);
        table.row([("größer".into(), Colour::Plain), ("cold".into(), Colour::Dim), (String::new(), Colour::Plain)]);
        assert_eq!(table.render(|text, _| text.to_owned()), "NAME    STATE  NOTE\na       ready  x y\ngrößer  cold\n");
        let painted = table.render(|text, colour| format!("<{colour:?}>{text}"));
        assert_eq!(painted.lines().nth(1), Some("<Plain>a       <Green>ready  <Plain>x y"));
    }
}
