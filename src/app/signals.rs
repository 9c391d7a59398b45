//! Signals of the gateway process. Caught from the first moment on: a SIGHUP that comes while it is still starting waits
//! here and never kills it.

use std::{io, sync::OnceLock};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::{SignalsInfo, exfiltrator::origin::WithOrigin},
};
use tokio::sync::mpsc;

/// Signals that wait for the gateway to be ready for them.
const QUEUE: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Reload,
    Stop,
}

/// A signal and who sent it, where the system says so.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub signal: Signal,
    pub pid: Option<i32>,
    pub uid: Option<u32>,
}

static CAUGHT: OnceLock<std::sync::Mutex<Option<SignalsInfo<WithOrigin>>>> = OnceLock::new();

/// First thing in `main` of a gateway.
pub fn catch() -> io::Result<()> {
    let signals = SignalsInfo::<WithOrigin>::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])?;
    // A second call in one process would find them caught already.
    let _ = CAUGHT.set(std::sync::Mutex::new(Some(signals)));
    Ok(())
}

/// Everything caught since [`catch`], in order. Its thread ends with the process.
pub fn receive() -> mpsc::Receiver<Sent> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let caught = CAUGHT.get().and_then(|caught| caught.lock().ok()?.take());
    if let Some(mut signals) = caught {
        std::thread::spawn(move || {
            for origin in signals.forever() {
                let signal = match origin.signal {
                    SIGHUP => Signal::Reload,
                    SIGINT | SIGTERM => Signal::Stop,
                    // Caught so that they kill nobody; nothing is bound to them in this version.
                    _ => continue,
                };
                let sent = Sent {
                    signal,
                    pid: origin.process.map(|process| process.pid),
                    uid: origin.process.map(|process| process.uid),
                };
                let _ = match signal {
                    // Full: 64 signals wait already, and a reload is one reload.
                    Signal::Reload => sender.try_send(sent).is_ok(),
                    // A stop is never lost behind them. The receiver is gone only when the process ends.
                    Signal::Stop => sender.blocking_send(sent).is_ok(),
                };
            }
        });
    }
    receiver
}
