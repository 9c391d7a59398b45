//! Who a provider belongs to: that one adds, changes and removes it, and nobody else.

use std::{fmt, sync::Arc};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Owner {
    /// `providers` of the configuration file; the only ones that a reload's difference is about.
    #[default]
    Config,
    /// Loaded while running, from a definition in the file. Who asked: `cli`, `http`, `mcp_tool/claude-code`.
    Load(Arc<str>),
    /// A file of the directory that `discovery.files` names.
    File(Arc<str>),
}

impl Owner {
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Config)
    }

    /// In a sentence: "it belongs to ...".
    pub fn in_words(&self) -> String {
        match self {
            Self::Config => "the configuration file".to_owned(),
            Self::File(file) => format!("the fragment {file}"),
            Self::Load(by) => format!("who loaded it ({by})"),
        }
    }

    /// How that one takes it out of service.
    pub fn way_out(&self) -> &'static str {
        match self {
            Self::Config => "take it out of the file, or set `enabled: false`, and reload",
            Self::File(_) => "remove or rename that file",
            Self::Load(_) => "unload it: `hangar unload NAME` or the tool hangar_unload",
        }
    }
}

impl fmt::Display for Owner {
    /// `config` | `load:BY` | `file:NAME.yaml`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("config"),
            Self::File(file) => write!(f, "file:{file}"),
            Self::Load(by) => write!(f, "load:{by}"),
        }
    }
}

impl serde::Serialize for Owner {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
