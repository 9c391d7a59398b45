//! The signals a shim listens to, as flags plus one pipe that wakes its poll.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

pub(super) struct Signals {
    wake: UnixStream,
    term: Arc<AtomicBool>,
    kill: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let (term, kill) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        // `pkill -HUP hangar` finds shims too, and the kernel sends HUP to a stopped shim whose gateway died: caught, not
        // ignored, since an ignored signal would stay ignored in the server.
        let unheeded = Arc::new(AtomicBool::new(false));
        for (signal, flag) in [
            (SIGTERM, &term),
            (SIGINT, &term),
            (SIGQUIT, &kill),
            (SIGHUP, &unheeded),
            (SIGUSR1, &unheeded),
            (SIGUSR2, &unheeded),
        ] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        // Registered after the flags, and actions run in order: who is woken finds the flag set.
        for signal in [SIGCHLD, SIGTERM, SIGINT, SIGQUIT] {
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { wake, term, kill })
    }

    /// Becomes readable when a signal came.
    pub(super) fn wake(&self) -> &UnixStream {
        &self.wake
    }

    pub(super) fn drain(&self) {
        let mut sink = [0; 256];
        while matches!((&self.wake).read(&mut sink), Ok(n) if n > 0) {}
    }

    /// Somebody asked for the TERM rung.
    pub(super) fn term(&self) -> bool {
        self.term.load(Ordering::SeqCst)
    }

    /// Somebody asked for the KILL rung.
    pub(super) fn kill(&self) -> bool {
        self.kill.load(Ordering::SeqCst)
    }
}
