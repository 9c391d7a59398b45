//! The PID files of this gateway: its record, which commands find it by, and the one in the place where scripts look.

use std::path::{Path, PathBuf};

use super::{ServeError, ServeOptions, handover::Handover};
use crate::{
    host,
    runtime_dir::{
        self,
        pid_file::{self, Facts, Found, NotTaken, Parent, PidFile},
    },
    telemetry::{About, build},
    transport,
};

const RECORD: &str = "record";
const PID_FILE: &str = "pid_file";

/// Held until the gateway has stopped; dropped: removed.
#[derive(Default)]
pub(super) struct PidFiles {
    record: Option<PidFile>,
    /// Of a gateway over HTTP, and of a stdio gateway that was told to keep one.
    named: Option<PidFile>,
    /// Whoever started the first life of this process.
    pub(super) parent: Option<Parent>,
}

impl PidFiles {
    /// Before anything is started: a second gateway at a held place is refused.
    pub(super) fn take(options: &ServeOptions, config: &Path, earlier: &mut Handover) -> Result<Self, ServeError> {
        sweep();
        let mut parent = parent();
        let record = runtime_dir::record_path(config, std::process::id()).map_err(|e| e.to_string()).and_then(|path| {
            match earlier.take(RECORD) {
                Some(fd) => {
                    parent = first_parent(&path).or(parent);
                    Ok(PidFile::adopt(path, fd))
                }
                None => PidFile::take(&path).map_err(|e| e.to_string()),
            }
        });
        // Without one the gateway works; commands find it by its socket, if at all.
        let record = record.inspect_err(|error| tracing::warn!(error, "no_pid_record")).ok();
        record.iter().for_each(|record| transport::set_record(record.path()));
        let named = match Self::place(options, config) {
            None => None,
            Some(path) => match earlier.take(PID_FILE) {
                Some(fd) => Some(PidFile::adopt(path, fd)),
                None => match PidFile::take(&path) {
                    Ok(file) => Some(file),
                    Err(error @ NotTaken::Held { .. }) => {
                        let help = "stop that one (hangar stop), or give this one a --pid-file of its own";
                        return Err(ServeError::Refused(format!("{error}; {help}")));
                    }
                    // Asked for, and impossible; a place of our own choice is not worth a refusal.
                    Err(error) if options.pid_file.is_some() => return Err(ServeError::Refused(error.to_string())),
                    Err(error) => {
                        tracing::warn!(%error, "no_pid_file");
                        None
                    }
                },
            },
        };
        Ok(Self { record, named, parent })
    }

    /// A stdio gateway keeps one only when it is told to.
    fn place(options: &ServeOptions, config: &Path) -> Option<PathBuf> {
        let typed = options.pid_file.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        let usual = || {
            let found = runtime_dir::pid_file_path(config);
            found.inspect_err(|error| tracing::warn!(%error, "no_pid_file")).ok()
        };
        typed.or_else(|| options.http.then(usual).flatten())
    }

    /// The start has succeeded.
    pub(super) fn write(&mut self, about: &About, executable: Option<&Path>) {
        let pid = std::process::id();
        let facts = Facts {
            pid,
            start_time: about.start_time.clone(),
            version: build::VERSION.to_owned(),
            transport: about.transport.to_owned(),
            host: about.address.map(|address| address.ip().to_string()),
            port: about.address.map(|address| address.port()),
            socket: about.socket.clone(),
            config: about.config.clone(),
            dotenv: about.dotenv.recorded().map(Path::to_owned),
            argv: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            executable: executable.map(Path::to_owned),
            generation_id: about.generation_id.to_string(),
            start_ticks: host::Process::of(pid).map(|process| process.started),
            boot_id: host::boot_id(),
            uid: rustix::process::geteuid().as_raw(),
            parent: self.parent,
        };
        for file in [&mut self.record, &mut self.named].into_iter().flatten() {
            if let Err(error) = file.write(&facts) {
                tracing::warn!(path = %file.path().display(), %error, "pid_file_not_written");
            }
        }
    }

    pub(super) fn named_path(&self) -> Option<PathBuf> {
        self.named.as_ref().map(|file| file.path().to_owned())
    }

    /// Keeps the files, and their locks, for the next life.
    pub(super) fn hand_over(self, handover: &mut Handover) {
        for (name, file) in [(RECORD, self.record), (PID_FILE, self.named)] {
            if let Some(file) = file {
                handover.put_copy(name, std::os::fd::AsFd::as_fd(&file));
                // Its drop would remove the file.
                std::mem::forget(file);
            }
        }
    }
}

/// Whoever started this process, as far as it can be told from the next process of that number.
fn parent() -> Option<Parent> {
    let pid = u32::try_from(rustix::process::getppid()?.as_raw_nonzero().get()).ok()?;
    // Process 1 is everybody's parent in the end.
    let process = host::Process::of(pid).filter(|process| process.pid > 1)?;
    Some(Parent { pid, start_ticks: process.started })
}

/// As the life before has written it: a parent that has gone since is not replaced by whoever adopts orphans.
fn first_parent(record: &Path) -> Option<Parent> {
    match pid_file::look(record) {
        Ok(Found::Held(Some(facts))) => facts.parent,
        _ => None,
    }
}

/// Records of gateways that were killed.
fn sweep() {
    for path in runtime_dir::records_of(None) {
        if matches!(pid_file::look(&path), Ok(Found::Stale(_))) {
            // Taken and dropped at once: removed under its lock.
            drop(PidFile::take(&path));
        }
    }
}
