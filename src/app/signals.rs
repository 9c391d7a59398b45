//! Signals of the gateway process. Caught from the first moment on: a SIGHUP that comes while it is still starting waits
//! here and never kills it.

use std::{io, sync::OnceLock};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ},
    iterator::{SignalsInfo, exfiltrator::origin::WithOrigin},
};
use tokio::sync::mpsc;

/// Signals that wait for the gateway to be ready for them.
const QUEUE: usize = 64;
/// One asks, the second insists, and this one does not depend on anything that might hang.
const STOPS_ENDURED: u32 = 2;
/// 128 + SIGINT, as a shell says it.
const INTERRUPTED: i32 = 130;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Reload,
    Restart,
    Stop,
}

/// A signal and who sent it, where the system says so.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub signal: Signal,
    pub name: &'static str,
    pub pid: Option<i32>,
    pub uid: Option<u32>,
}

static CAUGHT: OnceLock<std::sync::Mutex<Option<SignalsInfo<WithOrigin>>>> = OnceLock::new();

/// First thing in `main` of a gateway.
pub fn catch() -> io::Result<()> {
    // SIGXFSZ: a file that may grow no more is an error of that one write.
    let signals = SignalsInfo::<WithOrigin>::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ])?;
    // A second call in one process would find them caught already.
    let _ = CAUGHT.set(std::sync::Mutex::new(Some(signals)));
    // An earlier life of this process holds them back across its exec.
    Ok(super::restart::ours().thread_unblock()?)
}

/// Everything caught since [`catch`], in order. Its thread ends with the process.
pub fn receive() -> mpsc::Receiver<Sent> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let caught = CAUGHT.get().and_then(|caught| caught.lock().ok()?.take());
    if let Some(mut signals) = caught {
        std::thread::spawn(move || {
            let mut stops = 0;
            for origin in signals.forever() {
                let (signal, name) = match origin.signal {
                    SIGHUP => (Signal::Reload, "SIGHUP"),
                    SIGUSR2 => (Signal::Restart, "SIGUSR2"),
                    SIGINT => (Signal::Stop, "SIGINT"),
                    SIGTERM => (Signal::Stop, "SIGTERM"),
                    // Caught so that it kills nobody; nothing is bound to it.
                    _ => continue,
                };
                let sent = Sent {
                    signal,
                    name,
                    pid: origin.process.map(|process| process.pid),
                    uid: origin.process.map(|process| process.uid),
                };
                if signal == Signal::Stop {
                    stops += 1;
                    if stops > STOPS_ENDURED {
                        std::process::exit(INTERRUPTED);
                    }
                }
                let _ = match signal {
                    // Full: 64 signals wait already, and a reload is one reload.
                    Signal::Reload | Signal::Restart => sender.try_send(sent).is_ok(),
                    // A stop is never lost behind them. The receiver is gone only when the process ends.
                    Signal::Stop => sender.blocking_send(sent).is_ok(),
                };
            }
        });
    }
    receiver
}

impl Sent {
    /// Somebody who is neither this user nor the system administrator. One that cannot be seen from here (process 0) is
    /// outside of our container, and rules it anyway; a signal without a sender is the kernel's.
    pub fn is_foreign(&self) -> bool {
        let Some(uid) = self.uid else { return false };
        let ours = [rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw(), 0];
        !ours.contains(&uid) && self.pid != Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_foreign() {
        let me = rustix::process::getuid().as_raw();
        let sent = |pid, uid| Sent { signal: Signal::Reload, name: "SIGHUP", pid, uid }.is_foreign();
        assert!(
            !sent(Some(7), Some(me)) && !sent(Some(7), Some(0)) && !sent(None, None) && !sent(Some(0), Some(me + 1))
        );
        assert!(sent(Some(7), Some(me + 1)));
    }
}
