//! What a reload says about the `.env` file: which variables are others now, by name, and whether that changes anything.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Serialize;

use crate::config::DotenvRead;

/// Part of the report. Never a value.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DotenvReport {
    /// The file that was read; where it was when it is `missing`.
    pub path: Option<PathBuf>,
    /// `live` | `live (bind-mounted)` | `fresh-discovery` | `missing` | `none`
    pub source: &'static str,
    /// Variables added, removed or changed since the load in force, sorted. Each is in one of the three lists below, too.
    pub changed: Vec<String>,
    /// The configuration depends on them: what that changes is in the rest of the report.
    pub used: Vec<String>,
    /// No reference and no provider asks for them.
    pub unused: Vec<String>,
    /// Set in the gateway's own environment, which wins.
    pub shadowed: Vec<String>,
    /// All this in words.
    pub effect: String,
}

impl DotenvReport {
    /// `before`: of the load in force; `None` at boot, when nothing can have changed. `ahead`: of a dry run.
    pub(super) fn of(before: Option<&DotenvRead>, now: &DotenvRead, ahead: bool) -> Self {
        let changed = before.map(|before| now.changed_since(before)).unwrap_or_default();
        let shadowed_before = before.map(|before| before.shadowed.clone()).unwrap_or_default();
        Self::of_changed(changed, &shadowed_before, now, ahead)
    }

    /// `changed`: sorted. `shadowed_before`: one that is gone from the file may be set in the environment all the same.
    pub fn of_changed(changed: Vec<String>, shadowed_before: &BTreeSet<String>, now: &DotenvRead, ahead: bool) -> Self {
        let (shadowed, open): (Vec<_>, Vec<_>) =
            changed.iter().cloned().partition(|name| now.shadowed.contains(name) || shadowed_before.contains(name));
        let (used, unused): (Vec<_>, Vec<_>) = open.into_iter().partition(|name| now.uses(name));
        let source = now.found.source();
        let mut report =
            Self { path: now.found.path.clone(), source, changed, used, unused, shadowed, effect: String::new() };
        report.effect = report.in_words(ahead);
        report
    }

    fn in_words(&self, ahead: bool) -> String {
        let mut parts = Vec::new();
        match self.source {
            "none" => return "there is no .env file".to_owned(),
            "missing" => parts.push("the file is gone, and no other is there; its variables are not set".to_owned()),
            "fresh-discovery" => parts.push("not the file of the start, which had none or whose is gone".to_owned()),
            _ => {}
        }
        if self.changed.is_empty() {
            parts.push("no variable has changed".to_owned());
        }
        let used = if ahead { "used by the configuration" } else { "used by the configuration, in force now" };
        let shadowed =
            "no effect: the gateway's own environment sets them and wins; that changes only by starting it anew";
        let lists = [(&self.used, used), (&self.unused, "no effect: used by nothing"), (&self.shadowed, shadowed)];
        let told = lists.into_iter().filter(|(names, _)| !names.is_empty());
        parts.extend(told.map(|(names, what)| format!("{}: {what}", names.join(", "))));
        parts.join("; ")
    }

    /// For the log, where those look who sent a signal.
    pub fn tell(&self) {
        if !self.changed.is_empty() {
            let path = self.path.as_ref().map(|path| path.display().to_string());
            tracing::info!(
                path,
                source = self.source,
                changed = self.changed.join(","),
                effect = self.effect,
                "dotenv_changed"
            );
        }
    }
}
