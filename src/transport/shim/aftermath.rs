//! What a server of the shape `docker run ...` leaves outside of our processes: its container. The command line tool is
//! gone by now; a container that ignored what the tool handed on to it runs on, and one without `--rm` stays for ever.
//!
//! Asked of the same tool with the same options and the same environment, so that it is asked of the same engine.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::Read,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// On the container; its value is the connection's id.
pub(in crate::transport) const LABEL: &str = "hangar.connection";

/// All of it: an engine that has hung is left alone after this.
const LIMIT: Duration = Duration::from_secs(15);
/// The engine may still be busy with a creation that the tool asked for in its last moment.
const LATE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(5);

/// The tool, and how it is asked for the containers of one connection.
pub(in crate::transport) struct Aftermath {
    pub(in crate::transport) program: OsString,
    /// Its own options, before `run`.
    pub(in crate::transport) globals: Vec<OsString>,
    pub(in crate::transport) connection: OsString,
    /// The server's; `None`: this process has just that.
    pub(in crate::transport) environment: Option<BTreeMap<OsString, OsString>>,
}

impl Aftermath {
    /// Returns when no container of the connection is left, or cannot be removed. `orderly`: the tool ended by itself, and
    /// has asked for nothing that is still to come.
    pub(in crate::transport) fn clear(&self, orderly: bool) {
        let start = Instant::now();
        let mut label = OsString::from(format!("label={LABEL}="));
        label.push(&self.connection);
        let listing = [&["ps", "--all", "--quiet", "--filter"].map(OsStr::new)[..], &[&label]].concat();
        loop {
            let Some(found) = self.ask(&listing, start) else { return };
            let ids: Vec<&OsStr> = found.split_ascii_whitespace().map(OsStr::new).collect();
            if ids.is_empty() && (orderly || start.elapsed() > LATE) || start.elapsed() > LIMIT {
                return;
            }
            if !ids.is_empty() {
                // It has had its ladder; Podman's `rm --force` would give it another 10 s. Then with its anonymous volumes, as
                // `--rm` does. One that is going already is no error of ours.
                self.ask(&[&[OsStr::new("kill")], &ids[..]].concat(), start);
                let words = ["rm", "--force", "--volumes"].map(OsStr::new);
                self.ask(&[&words, &ids[..]].concat(), start);
            }
            sleep(LOOK_EVERY);
        }
    }

    /// What the tool prints. `None`: it cannot be asked.
    fn ask(&self, words: &[&OsStr], start: Instant) -> Option<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.globals).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment);
        }
        let mut child = command.spawn().ok()?;
        while child.try_wait().ok()?.is_none() {
            if start.elapsed() > LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            sleep(POLL);
        }
        let mut text = String::new();
        // A few lines: they fit into the pipe.
        child.stdout.take()?.read_to_string(&mut text).ok()?;
        Some(text)
    }
}
