//! What a reload answers. CONTRACT section 2.

use std::collections::BTreeMap;

use serde::Serialize;

use super::DotenvReport;
use crate::{
    config::{ConfigDiff, Problem, ProviderName},
    provider::Owner,
};

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Boot,
    FileWatcher,
    Poll,
    Sighup,
    McpTool,
    Http,
    Cli,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadOptions {
    /// Wait for calls in flight of removed and updated providers.
    pub graceful: bool,
    /// Report the difference, change nothing.
    pub dry_run: bool,
    /// Start every added and updated provider first; refuse when one fails.
    pub verify: bool,
}

/// The answer to a reload that succeeded.
#[derive(Debug, Clone, Serialize)]
pub struct ReloadReport {
    pub status: &'static str,
    pub providers_added: Vec<String>,
    pub providers_removed: Vec<String>,
    pub providers_updated: Vec<String>,
    pub providers_unchanged: Vec<String>,
    /// To the commit; microsecond resolution.
    pub duration_ms: f64,
    pub groups_added: Vec<String>,
    pub groups_removed: Vec<String>,
    pub groups_updated: Vec<String>,
    /// Top-level keys of each updated provider and group.
    pub changed_fields: BTreeMap<String, Vec<&'static str>>,
    /// Of providers named above that the configuration file does not own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub owners: BTreeMap<String, String>,
    /// Providers whose old instance ends in the background.
    pub draining: Vec<String>,
    /// Dotted keys outside of `providers` that changed and are in force at once.
    pub settings_updated: Vec<&'static str>,
    /// Dotted keys that changed and take effect after a restart only.
    pub restart_required: Vec<&'static str>,
    pub warnings: Vec<String>,
    pub dotenv: DotenvReport,
    pub generation: u64,
    pub config_sha256: String,
    pub requested_by: Trigger,
    pub dry_run: bool,
}

/// The answer to one that was refused: nothing has moved.
#[derive(Debug, Clone, Serialize)]
pub struct ReloadError {
    pub status: &'static str,
    /// `read` | `parse` | `normalize` | `validate` | `verify` | `shutdown`
    pub stage: &'static str,
    pub message: String,
    pub problems: Vec<Problem>,
    /// Still in force.
    pub generation: u64,
    /// Of the sources that were refused.
    pub config_sha256: String,
    pub requested_by: Trigger,
}

impl Default for ReloadOptions {
    fn default() -> Self {
        Self { graceful: true, dry_run: false, verify: false }
    }
}

impl Trigger {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::FileWatcher => "file_watcher",
            Self::Poll => "poll",
            Self::Sighup => "sighup",
            Self::McpTool => "mcp_tool",
            Self::Http => "http",
            Self::Cli => "cli",
        }
    }
}

impl ReloadReport {
    /// Without `draining`, warnings, the `.env` file and the run's own figures.
    pub(super) fn of(diff: &ConfigDiff, requested_by: Trigger) -> Self {
        let names = |list: &[crate::config::ProviderName]| list.iter().map(ToString::to_string).collect();
        let updated = diff.updated.iter().chain(&diff.groups_updated);
        Self {
            status: "success",
            providers_added: names(&diff.added),
            providers_removed: names(&diff.removed),
            providers_updated: diff.updated.iter().map(|(name, _)| name.to_string()).collect(),
            providers_unchanged: names(&diff.unchanged),
            duration_ms: 0.0,
            groups_added: names(&diff.groups_added),
            groups_removed: names(&diff.groups_removed),
            groups_updated: diff.groups_updated.iter().map(|(name, _)| name.to_string()).collect(),
            changed_fields: updated.map(|(name, keys)| (name.to_string(), keys.clone())).collect(),
            owners: BTreeMap::new(),
            draining: Vec::new(),
            settings_updated: diff.settings.clone(),
            restart_required: diff.restart_required.clone(),
            warnings: Vec::new(),
            dotenv: DotenvReport::default(),
            generation: 0,
            config_sha256: String::new(),
            requested_by,
            dry_run: false,
        }
    }

    /// Those of providers that changed or came.
    pub(super) fn name_owners(&mut self, owners: &BTreeMap<ProviderName, Owner>) {
        let told = |name: &str| self.providers_added.iter().chain(&self.providers_updated).any(|known| known == name);
        let told = owners.iter().filter(|(name, _)| told(name.as_str()));
        self.owners = told.map(|(name, owner)| (name.to_string(), owner.to_string())).collect();
    }

    /// Whether a commit of it changes anything.
    pub fn changes_something(&self) -> bool {
        let providers = [&self.providers_added, &self.providers_removed, &self.providers_updated];
        let groups = [&self.groups_added, &self.groups_removed, &self.groups_updated];
        !providers.into_iter().chain(groups).all(Vec::is_empty)
    }
}
