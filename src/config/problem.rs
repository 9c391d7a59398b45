//! One thing that is wrong with a configuration, and where.

use std::{fmt, path::PathBuf};

/// `HGR0101` and so on: stable, documented in `docs/configuration.md`.
pub type Code = &'static str;

/// Where in which file. Lines and columns count from 1; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: PathBuf,
    pub line: u32,
    pub column: u32,
}

/// A problem never quotes a value that may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    /// Dotted key path, `providers.math.command`; empty for the file as a whole.
    pub path: String,
    pub place: Option<Place>,
    pub message: String,
    /// What to do about it: a "did you mean", an example, a command.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    /// `config.yaml:3:5: providers.math.comand: unknown key [HGR0102]\n  help: did you mean "command"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}:{}: ", place.file.display(), place.line, place.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} [{}]", self.message, self.code)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl serde::Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = s.serialize_struct("Problem", 7)?;
        out.serialize_field("path", &self.path)?;
        out.serialize_field("file", &self.place.as_ref().map(|p| p.file.display().to_string()))?;
        out.serialize_field("line", &self.place.as_ref().map(|p| p.line))?;
        out.serialize_field("column", &self.place.as_ref().map(|p| p.column))?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("code", self.code)?;
        out.serialize_field("help", &self.help)?;
        out.end()
    }
}
