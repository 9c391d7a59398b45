//! The stop ladder, run by the shim alone: stdin closed, wait; SIGTERM, wait; SIGKILL; and nothing is left below it.

use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitOptions},
};

use super::{Server, Times, cause, descendants, signal_group, signals::Signals};
use crate::transport::{
    Rung,
    handover::{self, KILL_NOW, Report, TERM_NOW},
};

/// What a server leaves behind when it exits gets SIGTERM, and this long (or `term`, if shorter) before SIGKILL.
const LEFTOVER_TERM: Duration = Duration::from_millis(500);
/// SIGKILL is repeated until nothing is left: a process may fork between the look and the signal.
const KILL_EVERY: Duration = Duration::from_millis(5);
/// A process that SIGKILL does not end (stuck in the kernel) is left after this.
const KILL_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Ladder {
    server: Server,
    times: Times,
    signals: Signals,
    step: Step,
    /// When the step is over.
    until: Option<Instant>,
    /// Set once the server is reaped; from then on its group number means nothing.
    status: Option<ExitStatus>,
    /// The gateway still holds its end of the server's stdin; `false`: it let go, do not poll it any more.
    stdin_open: bool,
    /// The same for the control socket.
    control_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Running,
    StdinClosed,
    Term,
    /// The server is gone, what it left has been told to go.
    Leftovers,
    Kill,
}

/// What `reap` saw.
#[derive(PartialEq, Eq)]
enum Below {
    Some,
    /// Not one child: and with a subreaper that means not one descendant.
    None,
}

impl Ladder {
    pub(super) fn new(server: Server, times: Times, signals: Signals) -> Self {
        Self {
            server,
            times,
            signals,
            step: Step::Running,
            until: None,
            status: None,
            stdin_open: true,
            control_open: true,
        }
    }

    /// Returns when the server and everything below it is gone (or cannot be ended): how the server ended, and whether the
    /// gateway is gone, too.
    pub(super) fn run(mut self) -> (Option<ExitStatus>, bool) {
        let status = self.climb();
        self.listen();
        (status, !self.control_open)
    }

    fn climb(&mut self) -> Option<ExitStatus> {
        loop {
            if self.reap() == Below::None {
                return self.status;
            }
            if self.status.is_some() {
                self.step_to(Step::Leftovers);
            }
            if self.signals.kill() {
                self.step_to(Step::Kill);
            } else if self.signals.term() {
                self.step_to(Step::Term);
            }
            if self.until.is_some_and(|t| t <= Instant::now()) {
                match self.step {
                    Step::Running => {}
                    Step::StdinClosed => self.step_to(Step::Term),
                    Step::Leftovers | Step::Term => self.step_to(Step::Kill),
                    Step::Kill => return self.status,
                }
            }
            if self.step == Step::Kill {
                self.signal_all(Signal::KILL);
            }
            self.wait();
        }
    }

    /// Climbs to `step`, never down.
    fn step_to(&mut self, step: Step) {
        if step <= self.step {
            return;
        }
        self.step = step;
        let (rung, wait) = match step {
            Step::Running => (None, Duration::ZERO),
            Step::StdinClosed => (Some(Rung::StdinClosed), self.times.grace),
            Step::Leftovers => (None, self.times.term.min(LEFTOVER_TERM)),
            Step::Term => (Some(Rung::Term), self.times.term),
            Step::Kill => (Some(Rung::Kill), KILL_LIMIT),
        };
        self.until = Some(Instant::now() + wait);
        if let (Some(rung), None) = (rung, self.status) {
            handover::tell(&self.server.control, &Report::Rung(rung));
        }
        if matches!(step, Step::Leftovers | Step::Term) {
            self.signal_all(Signal::TERM);
        }
    }

    /// The server's group in one go, then whoever left it.
    fn signal_all(&self, signal: Signal) {
        let group = self.server.pid.as_raw_nonzero().get();
        let server_lives = self.status.is_none();
        if server_lives {
            signal_group(self.server.pid, signal);
        }
        for descendant in descendants::below() {
            if !(server_lives && descendant.group == group) {
                descendant.process.signal(signal);
            }
        }
    }

    /// Reaps whatever died.
    fn reap(&mut self) -> Below {
        loop {
            #[cfg(not(target_os = "linux"))]
            self.end_group_before_reaping();
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.reaped(pid, ExitStatus::from_raw(status.as_raw())),
                Ok(None) => return Below::Some,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Below::None,
            }
        }
    }

    fn reaped(&mut self, pid: Pid, status: ExitStatus) {
        if pid == self.server.pid {
            self.status = Some(status);
            handover::tell(&self.server.control, &Report::Exited(cause(status)));
        }
    }

    /// Without a subreaper the group is all we know of; once its leader is reaped its number may mean another group.
    #[cfg(not(target_os = "linux"))]
    fn end_group_before_reaping(&self) {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.status.is_none() && matches!(waitid(WaitId::Pid(self.server.pid), peek), Ok(Some(_))) {
            signal_group(self.server.pid, Signal::KILL);
        }
    }

    /// Sleeps until a signal, the gateway, or the end of the step.
    fn wait(&mut self) {
        let limit = self.until.map(|t| t.saturating_duration_since(Instant::now()));
        let limit = if self.step == Step::Kill { Some(KILL_EVERY) } else { limit };
        // Rounded up: waking just before the deadline would spin.
        let limit = limit.and_then(|d| Timespec::try_from(d + Duration::from_millis(1)).ok());
        // The stdin copy without events: only the hang-up is of interest, never the data.
        let mut fds = vec![PollFd::new(self.signals.wake(), PollFlags::IN)];
        let stdin =
            self.stdin_open.then(|| (fds.push(PollFd::new(&self.server.stdin, PollFlags::empty())), fds.len() - 1));
        let control =
            self.control_open.then(|| (fds.push(PollFd::new(&self.server.control, PollFlags::IN)), fds.len() - 1));
        if poll(&mut fds, limit.as_ref()).is_err() {
            return;
        }
        let came =
            |at: Option<((), usize)>| at.and_then(|(_, i)| fds.get(i)).is_some_and(|fd| !fd.revents().is_empty());
        let (stdin_hung_up, control_spoke) = (came(stdin), came(control));
        self.signals.drain();
        if stdin_hung_up {
            self.stdin_open = false;
        }
        if control_spoke {
            self.listen();
        }
        if !(self.stdin_open && self.control_open) {
            self.let_go();
        }
    }

    /// The gateway stopped, died or became another program.
    fn let_go(&mut self) {
        // A server that died before was not asked to stop.
        self.reap();
        if self.status.is_none() {
            self.step_to(Step::StdinClosed);
        }
    }

    /// What the gateway says on the control socket.
    fn listen(&mut self) {
        let mut byte = [0];
        match (&self.server.control).read(&mut byte) {
            Ok(0) => self.control_open = false,
            Ok(_) if byte == [TERM_NOW] => self.step_to(Step::Term),
            Ok(_) if byte == [KILL_NOW] => self.step_to(Step::Kill),
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => self.control_open = false,
            Ok(_) | Err(_) => {}
        }
    }
}
