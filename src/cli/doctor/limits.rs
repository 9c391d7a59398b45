//! Limits of the system that a gateway runs into: file notifications and open files.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::config::Config;

const FILES: &str = "open files";
/// Sockets, logs, pipes of the gateway itself, and some clients.
const BASE: u64 = 128;
/// Pipes and sockets of one provider.
const EACH: u64 = 12;

pub(super) fn check(path: Option<&Path>, config: Option<&Config>) -> Vec<Finding> {
    let mut findings = vec![open_files(config.map_or(0, |config| config.providers.len()))];
    // Where it is switched off nobody needs it.
    if config.is_none_or(|config| config.reload.enabled && config.reload.use_watchdog) {
        findings.extend(inotify::check(path));
    }
    findings
}

fn open_files(providers: usize) -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let wanted = BASE + EACH * u64::try_from(providers).unwrap_or(0);
    let shown = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let told = format!("{} (at most {})", shown(limit.current), shown(limit.maximum));
    match limit.current {
        Some(current) if current < wanted => {
            let message = format!("the limit is {told}; {wanted} may be needed with these providers");
            Finding::found(FILES, message, format!("ulimit -n {}, or LimitNOFILE= of the service", wanted.max(4096)))
        }
        _ => Finding::ok(FILES, format!("the limit is {told}")),
    }
}

#[cfg(target_os = "linux")]
mod inotify {
    use std::{fs, path::Path};

    use rustix::{
        fs::inotify::{CreateFlags, WatchFlags, add_watch, init},
        io::Errno,
    };

    use super::Finding;

    const CHECK: &str = "inotify";

    /// Does what a gateway does, and undoes it.
    pub(super) fn check(config: Option<&Path>) -> Option<Finding> {
        let directory = config.and_then(|config| std::path::absolute(config).ok())?.parent()?.to_owned();
        let tried =
            init(CreateFlags::CLOEXEC).and_then(|fd| add_watch(&fd, &*directory, WatchFlags::MODIFY).map(|_| fd));
        let limit = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/fs/inotify/max_user_{name}"));
            text.map_or("?".to_owned(), |text| text.trim().to_owned())
        };
        let limits = format!("{} instances, {} watches a user", limit("instances"), limit("watches"));
        let by_poll = "changes of the configuration are noticed by the poll alone (config_reload.interval_s)";
        Some(match tried {
            Ok(_) => Finding::ok(CHECK, format!("{} can be watched ({limits})", directory.display())),
            Err(error @ (Errno::MFILE | Errno::NOSPC)) => {
                let which = if error == Errno::MFILE { "instances" } else { "watches" };
                let message = format!("this user's {which} are used up ({limits}): {by_poll}");
                Finding::found(CHECK, message, format!("sysctl fs.inotify.max_user_{which}=..."))
            }
            Err(error) => {
                let message = format!("{} cannot be watched: {error}; {by_poll}", directory.display());
                Finding::found(CHECK, message, "set config_reload.use_watchdog: false to go by the poll")
            }
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod inotify {
    use super::{Finding, Path};

    pub(super) fn check(_config: Option<&Path>) -> Option<Finding> {
        None
    }
}
