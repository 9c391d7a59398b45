//! The `config_reload` section of the normal form.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct ReloadSettings {
    /// The automatic watcher. SIGHUP, the tool, HTTP and the command line work in any case.
    pub enabled: bool,
    pub use_watchdog: bool,
    /// Never zero.
    pub interval: Duration,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self { enabled: true, use_watchdog: true, interval: Duration::from_secs(5) }
    }
}
