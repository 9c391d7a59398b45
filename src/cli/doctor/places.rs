//! The runtime and the state directory: whether a gateway could use them, and nobody else could.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::finding::Finding;
use crate::{app::state_dir::StateDir, runtime_dir};

const RUNTIME: &str = "runtime";
const STATE: &str = "state";
/// A socket's path may have so many bytes; its name takes `/`, 16 digits, `-`, a pid and `.sock`.
const SOCKET_PATH: usize = 107;
const SOCKET_NAME: usize = 1 + 16 + 1 + 7 + 5;

pub(super) fn check(_config: Option<&Path>) -> Vec<Finding> {
    let mut findings = runtime();
    findings.push(state(StateDir::locate().path()));
    findings
}

fn runtime() -> Vec<Finding> {
    let (mut findings, mut refusals) = (Vec::new(), Vec::new());
    for place in runtime_dir::places() {
        let shown = place.display();
        match runtime_dir::look_at(&place) {
            Ok(true) => {
                findings.extend(long(&place));
                findings.push(Finding::ok(RUNTIME, format!("{shown} is usable{}", privacy(&place))));
                return findings;
            }
            Ok(false) if creatable(&place) => {
                findings.extend(long(&place));
                findings.push(Finding::ok(RUNTIME, format!("{shown} is made when a gateway starts")));
                return findings;
            }
            Ok(false) => refusals.push(format!("{shown} is not there and cannot be made")),
            Err(error) => {
                let why = format!("{shown} is not used: {error}");
                if writable_by_others(&place) {
                    let help = format!("nobody else may write there: chmod go-w {shown}");
                    findings.push(Finding::found(RUNTIME, why.clone(), help));
                }
                refusals.push(why);
            }
        }
    }
    let message = format!("there is no directory for sockets and PID files ({})", refusals.join("; "));
    findings.push(Finding::found(RUNTIME, message, "set XDG_RUNTIME_DIR or HOME to a directory of your own"));
    findings
}

fn long(place: &Path) -> Option<Finding> {
    let bytes = place.as_os_str().len() + SOCKET_NAME;
    (bytes > SOCKET_PATH).then(|| {
        let message = format!(
            "the path of a socket in {} would have {bytes} bytes, and may have {SOCKET_PATH}: gateways run without one",
            place.display()
        );
        Finding::found(RUNTIME, message, "set XDG_RUNTIME_DIR to a shorter path")
    })
}

fn state(place: Option<&PathBuf>) -> Finding {
    let Some(place) = place else {
        let message = "there is no state directory: catalogues are not remembered";
        return Finding::found(STATE, message, "set XDG_STATE_HOME or HOME");
    };
    let shown = place.display();
    match fs::metadata(place) {
        Ok(about) if !about.is_dir() => {
            Finding::found(STATE, format!("{shown} is no directory"), "move it out of the way")
        }
        Ok(_) if writable_by_others(place) => {
            let help = format!("what is remembered there is believed: chmod go-w {shown}");
            Finding::found(STATE, format!("others may write to {shown}"), help)
        }
        Ok(_) => match access(place, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Finding::ok(STATE, format!("{shown} is usable{}", privacy(place))),
            Err(error) => {
                let message = format!("{shown} cannot be written to: {error}; catalogues are not remembered");
                Finding::found(STATE, message, "make it yours, or set XDG_STATE_HOME")
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound && creatable(place) => {
            Finding::ok(STATE, format!("{shown} is made when a gateway starts"))
        }
        Err(error) => {
            let message = format!("{shown} cannot be used: {error}; catalogues are not remembered");
            Finding::found(STATE, message, "set XDG_STATE_HOME to a directory of your own")
        }
    }
}

fn privacy(place: &Path) -> &'static str {
    match fs::metadata(place).map(|about| about.mode() & 0o077) {
        Ok(0) => " and private",
        // Its files are 0600 all the same.
        _ => "; others may see the names in it",
    }
}

fn writable_by_others(place: &Path) -> bool {
    fs::metadata(place).is_ok_and(|about| about.mode() & 0o022 != 0)
}

/// The nearest directory above it that is there lets us.
fn creatable(place: &Path) -> bool {
    let above = place.ancestors().skip(1).find(|above| above.exists());
    above.is_some_and(|above| above.is_dir() && access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok())
}
