//! The one table of keys. The parser walks it, the JSON Schema and the documentation's check are generated from it: there
//! is no second list of what a file may say. Here is what a table is made of; the files below hold the sections.

mod file;
mod provider;
mod server;

pub(super) use file::FILE;
pub(super) use provider::PROVIDER;

use file::{CLEANUP, DAEMON, LOGGING, RELOAD};
use provider::{AUTH, RESOURCES, STOP, TLS, TOOLS};
use server::{CLIENT, SERVER};

use super::{
    audit::AUDIT,
    discovery::{DISCOVERY, FILES},
    group_keys::{BREAKER, GROUP, HEALTH, MEMBER},
    limits::LIMITS,
    rules::{self, Rule},
    scalar,
    telemetry::{OTLP, TELEMETRY},
};

/// A mapping with fixed keys.
#[derive(Debug)]
pub(super) struct Section {
    /// `file`, `provider`, `server`...: the name of its `$defs` entry.
    pub id: &'static str,
    pub about: &'static str,
    /// The key whose value decides which others belong, and its default.
    pub selector: Option<(&'static str, &'static str)>,
    pub keys: &'static [Key],
}

#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    pub shape: Shape,
    /// Values of the selector it belongs to; empty: all.
    pub only: &'static [&'static str],
    /// Values of the selector that cannot do without it.
    pub need: &'static [&'static str],
    /// `null` says "absent" (lists, maps and sections accept that in any case).
    pub nullable: bool,
    /// As JSON; empty: there is none.
    pub default: &'static str,
    pub about: &'static str,
}

#[derive(Debug)]
pub(super) enum Shape {
    Text(&'static Rule),
    /// Text, or a number or `true`/`false` taken as typed.
    Scalar(&'static Rule),
    Flag,
    Whole {
        min: u64,
        max: u64,
    },
    /// Seconds, decimals allowed.
    Seconds {
        min: f64,
    },
    /// 0 is allowed beside what is at least `min`.
    Decimal {
        min: f64,
        max: f64,
    },
    /// Bytes as a number, or `512m`; 0 is allowed beside what is at least `min`.
    Memory {
        min: u64,
    },
    Choice(&'static [Word]),
    /// `filled`: `[]` is refused.
    List {
        of: &'static Shape,
        filled: bool,
    },
    /// `true`, `false` or a list of names.
    FlagOrNames(&'static Rule),
    Map {
        keys: &'static Rule,
        of: &'static Shape,
        nullable: bool,
    },
    Fields(&'static Section),
}

/// One of the words of a choice.
#[derive(Debug)]
pub(super) struct Word {
    pub word: &'static str,
    pub aliases: &'static [&'static str],
}

/// What the format will have, but this version does not: refused with a text that says so, and absent from the schema.
/// Section, key, word of a choice (empty: the key itself), what it is.
const LATER: &[(&str, &str, &str, &str)] =
    &[("discovery", "docker", "", "discovery of containers comes in a later version")];

/// What to say when the thing is of a later version.
pub(super) fn later(section: &str, key: &str, word: &str) -> Option<&'static str> {
    LATER.iter().find(|(s, k, w, _)| (*s, *k, *w) == (section, key, word)).map(|(.., say)| *say)
}

pub(super) const fn word(word: &'static str) -> Word {
    Word { word, aliases: &[] }
}

pub(super) const fn key(name: &'static str, shape: Shape, default: &'static str, about: &'static str) -> Key {
    Key { name, aliases: &[], shape, only: &[], need: &[], nullable: false, default, about }
}

impl Key {
    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn only(mut self, only: &'static [&'static str]) -> Self {
        self.only = only;
        self
    }

    pub(super) const fn need(mut self, need: &'static [&'static str]) -> Self {
        self.need = need;
        self
    }

    pub(super) const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }
}

const SUBPROCESS: &[&str] = &["subprocess"];
const DOCKER: &[&str] = &["docker"];
const REMOTE: &[&str] = &["remote"];
const CHILD: &[&str] = &["subprocess", "docker"];

const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, filled: false }
}

const PATH: Shape = Shape::Text(&rules::PATH);
const GLOB: Shape = Shape::Text(&rules::GLOB);
const ENV: Shape = Shape::Map { keys: &rules::ENV_NAME, of: &Shape::Scalar(&rules::NO_NUL), nullable: true };
const HEADERS: Shape =
    Shape::Map { keys: &rules::HEADER_NAME, of: &Shape::Scalar(&rules::HEADER_VALUE), nullable: true };
const EXPOSE: Shape = Shape::Choice(&[word("direct"), word("search"), word("both")]);
const PROTOCOL: Shape = Shape::Choice(&[word("auto"), word("legacy"), word("2026-07-28")]);

pub(super) const MAX_COUNT: u64 = 1_000_000;
/// The smallest time that is not zero.
pub(super) const ABOVE_ZERO: f64 = 0.001;

/// Every section, for what looks at all keys.
pub(super) static SECTIONS: &[&Section] = &[
    &FILE, &PROVIDER, &STOP, &TOOLS, &RESOURCES, &AUTH, &TLS, &DISCOVERY, &FILES, &GROUP, &MEMBER, &HEALTH, &BREAKER,
    &RELOAD, &SERVER, &CLIENT, &LIMITS, &LOGGING, &AUDIT, &TELEMETRY, &OTLP, &CLEANUP, &DAEMON,
];

impl Shape {
    /// "a list", "true or false"...: what was expected here.
    pub(super) fn wanted(&self) -> &'static str {
        match self {
            Shape::Text(_) | Shape::Scalar(_) => "text",
            Shape::Flag => "true or false",
            Shape::Whole { .. } => "a whole number",
            Shape::Seconds { .. } => "a number of seconds",
            Shape::Decimal { .. } => "a number",
            Shape::Memory { .. } => "an amount of memory such as 512m",
            Shape::Choice(_) => "one word",
            Shape::List { .. } => "a list",
            Shape::FlagOrNames(_) => "true, false or a list of names",
            Shape::Map { .. } | Shape::Fields(_) => "a mapping",
        }
    }
}

/// Longest time anything can be set to: a year.
pub(super) const MAX_SECONDS: f64 = scalar::YEAR;
