//! The poll loop: lines from the client to the gateway and back, neither direction ever waiting for the other.
//!
//! What cannot be passed on stays in a bounded queue, and nothing more is read on that side: a client that does not read
//! holds back its own messages, nobody else's.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{
    Wanted,
    memory::{MAX_IN_FLIGHT, Memory, Out},
    outlet::{Outlet, Queue, write_line},
    reach::{self, Link},
    say,
};
use crate::wire::{self, Line, Lines, code, hello::Hello};

/// Longest line of the client, for a gateway that does not say what it takes.
const MAX_LINE: usize = 16 * 1024 * 1024;
/// Longest line of the gateway. It has limits of its own for everything that such a line is made of.
const MAX_ANSWER: usize = 512 * 1024 * 1024;
/// Bytes that wait on one side before the other is not read any more.
const ENOUGH: usize = 256 * 1024;
/// Read at once.
const CHUNK: usize = 64 * 1024;
/// A connection that held this long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// A request that comes this long after the last try is worth another one.
const STALE: Duration = Duration::from_secs(1);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Relay {
    wanted: Wanted,
    gateway: Gateway,
    /// Losses in a row, each soon after the one before.
    losses: u32,
    memory: Memory,
    stdin: OwnedFd,
    stdout: Outlet,
    from_client: Lines,
    /// Longest line that the gateway takes.
    most: usize,
    client_ended: bool,
    up: Queue<Out>,
    down: Queue<Bytes>,
    chunk: Vec<u8>,
}

enum Gateway {
    Here {
        stream: UnixStream,
        pid: u32,
        since: Instant,
        lines: Lines,
        /// It takes nothing any more; what it has said is still to be read.
        deaf: bool,
        /// It knows that the client has said everything.
        told_end: bool,
    },
    /// The last try failed.
    Away { why: String, tried: Instant, next_try: Instant },
}

impl Relay {
    pub(super) fn new(wanted: Wanted, link: Link) -> io::Result<Self> {
        let stdin = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
        let stdout = Outlet::new(rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?)?;
        let most = link.gateway.line_bytes.unwrap_or(MAX_LINE);
        Ok(Self {
            wanted,
            gateway: Gateway::new(link)?,
            losses: 0,
            memory: Memory::default(),
            stdin,
            stdout,
            from_client: Lines::new(most),
            most,
            client_ended: false,
            up: Queue::default(),
            down: Queue::default(),
            chunk: vec![0; CHUNK],
        })
    }

    /// Until the client has ended and has its answers, or does not read any more.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.gateway_lines();
        loop {
            self.send_up();
            if !self.send_down() {
                return Ok(());
            }
            if self.done() {
                return Ok(());
            }
            let ready = self.wait()?;
            if ready.client_gone {
                return Ok(());
            }
            if ready.gateway {
                self.read_gateway();
            }
            if ready.client {
                self.read_client()?;
            }
            self.memory.overdue(Instant::now()).into_iter().for_each(|line| self.down.push(line));
            if let Gateway::Away { next_try, .. } = &self.gateway
                && *next_try <= Instant::now()
                && !self.client_ended
            {
                self.reach_again();
            }
        }
    }

    /// Everything said and answered.
    fn done(&self) -> bool {
        let nothing_comes = match &self.gateway {
            Gateway::Here { .. } => false,
            Gateway::Away { .. } => true,
        };
        self.client_ended && nothing_comes && self.down.lines.is_empty()
    }

    fn wait(&self) -> io::Result<Ready> {
        let room = self.down.bytes < ENOUGH;
        // Without a gateway every line is answered here.
        let heard = room || matches!(self.gateway, Gateway::Here { .. });
        let client = !self.client_ended && heard && self.up.bytes < ENOUGH && self.memory.in_flight() < MAX_IN_FLIGHT;
        let when = |wanted: bool, flag| if wanted { flag } else { PollFlags::empty() };
        let mut fds = Vec::with_capacity(3);
        fds.push(PollFd::new(&self.stdout.fd, when(!self.down.lines.is_empty(), PollFlags::OUT)));
        let mut timeout = None;
        match &self.gateway {
            Gateway::Here { stream, deaf, .. } => {
                let out = when(!self.up.lines.is_empty() && !deaf, PollFlags::OUT);
                timeout = self.memory.next_overdue().map(|until| until.saturating_duration_since(Instant::now()));
                // Without any wish a hang-up would still wake us, over and over.
                if room || !out.is_empty() {
                    fds.push(PollFd::new(stream, out | when(room, PollFlags::IN)));
                }
            }
            Gateway::Away { next_try, .. } if !self.client_ended => {
                timeout = Some(next_try.saturating_duration_since(Instant::now()));
            }
            Gateway::Away { .. } => {}
        }
        let gateway_at = if fds.len() == 2 { Some(1) } else { None };
        if client {
            fds.push(PollFd::new(&self.stdin, PollFlags::IN));
        }
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let woke = |at: usize| fds.get(at).map_or(PollFlags::empty(), PollFd::revents);
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            client_gone: woke(0).intersects(PollFlags::ERR | PollFlags::HUP),
            gateway: gateway_at.is_some_and(|at| woke(at).intersects(readable)) && room,
            client: client && woke(fds.len() - 1).intersects(readable),
        })
    }

    fn read_client(&mut self) -> io::Result<()> {
        let count = match rustix::io::read(&self.stdin, &mut *self.chunk) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.from_client.room().extend_from_slice(self.chunk.get(..count).unwrap_or_default());
        while let Some(line) = self.from_client.next_line() {
            match line {
                Line::Message(line) | Line::Noise(line) => self.client_line(line),
                Line::Oversize { .. } => {
                    let message =
                        format!("a message of more than {} bytes was dropped (server.limits.line_bytes)", self.most);
                    self.down.push(wire::error(b"", code::INVALID_REQUEST, &message, None));
                }
            }
        }
        if count == 0 {
            self.client_ended = true;
            // The last line of a script may lack its newline.
            let rest = std::mem::replace(&mut self.from_client, Lines::new(self.most)).rest();
            rest.into_iter().for_each(|line| self.client_line(line));
        }
        Ok(())
    }

    fn client_line(&mut self, line: Bytes) {
        if let Gateway::Away { tried, .. } = &self.gateway
            && tried.elapsed() >= STALE
        {
            self.reach_again();
        }
        match &self.gateway {
            Gateway::Here { .. } => {
                if let Some(out) = self.memory.client_said(line) {
                    self.up.push(out);
                }
            }
            Gateway::Away { why, .. } => {
                let answers = self.memory.unreached(&line, why);
                answers.into_iter().for_each(|answer| self.down.push(answer));
            }
        }
    }

    fn read_gateway(&mut self) {
        let Gateway::Here { stream, lines, .. } = &mut self.gateway else { return };
        match stream.read(&mut self.chunk) {
            Ok(count @ 1..) => {
                lines.room().extend_from_slice(self.chunk.get(..count).unwrap_or_default());
                self.gateway_lines();
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => self.lost(),
        }
    }

    fn gateway_lines(&mut self) {
        let Gateway::Here { lines, .. } = &mut self.gateway else { return };
        while let Some(line) = lines.next_line() {
            match line {
                Line::Message(line) | Line::Noise(line) => {
                    self.memory.gateway_said(line).into_iter().for_each(|line| self.down.push(line));
                }
                Line::Oversize { .. } => say("a message of the gateway was too long and is lost"),
            }
        }
        std::mem::take(&mut self.memory.replay.remarks).iter().for_each(|remark| say(remark));
    }

    /// The gateway has closed: the end, when the client has ended and is owed nothing; else another one is needed.
    fn lost(&mut self) {
        let Gateway::Here { pid, since, .. } = &self.gateway else { return };
        let why = format!("the gateway (pid {pid}) ended");
        self.losses = if since.elapsed() >= GOOD { 0 } else { self.losses.saturating_add(1) };
        let told = self.memory.lost(&why, !self.client_ended);
        told.into_iter().for_each(|line| self.down.push(line));
        self.up = Queue::default();
        self.gateway = Gateway::Away { why: why.clone(), tried: Instant::now(), next_try: Instant::now() };
        if self.client_ended {
            return;
        }
        say(&format!("{why}; looking for another one"));
        // The client need not wait for its errors until there is one.
        self.send_down();
        // One that ends again and again must not be started a thousand times a second.
        if let Some(again @ 1..) = self.losses.checked_sub(1) {
            std::thread::sleep(Duration::from_millis(50 << again.min(6)));
        }
        self.reach_again();
    }

    fn reach_again(&mut self) {
        let reached = reach::reach(&self.wanted).and_then(|link| {
            let hello = link.gateway.clone();
            Gateway::new(link)
                .map(|gateway| (gateway, hello))
                .map_err(|error| reach::Unreached { code: 0, message: error.to_string() })
        });
        match reached {
            Ok((gateway, Hello { pid, version, line_bytes, .. })) => {
                say(&format!("connected again, to the gateway with pid {pid} (hangar {version})"));
                self.gateway = gateway;
                self.most = line_bytes.unwrap_or(MAX_LINE);
                self.from_client.set_limit(self.most);
                self.memory.again().into_iter().for_each(|out| self.up.push(out));
                self.gateway_lines();
            }
            Err(unreached) => self.stay_away(unreached.message),
        }
    }

    /// The client stays: what is in the way (a config file in the middle of an edit) may go away.
    fn stay_away(&mut self, why: String) {
        // Once: nobody may be reading it.
        if !matches!(&self.gateway, Gateway::Away { why: before, .. } if *before == why) {
            say(&why);
        }
        let told = self.memory.lost(&why, false);
        told.into_iter().for_each(|line| self.down.push(line));
        self.losses = self.losses.saturating_add(1);
        let pause = Duration::from_millis(500 << self.losses.min(6)).min(LONGEST_PAUSE);
        self.gateway = Gateway::Away { why, tried: Instant::now(), next_try: Instant::now() + pause };
    }

    fn send_up(&mut self) {
        let Gateway::Here { stream, deaf, told_end, .. } = &mut self.gateway else { return };
        while let Some(out) = self.up.lines.front().filter(|_| !*deaf) {
            match write_line(&out.line, self.up.written, |parts| stream.write_vectored(parts)) {
                Ok(count) => {
                    if self.up.written == 0
                        && let Some(id) = &out.id
                    {
                        self.memory.sent(id);
                    }
                    self.up.wrote(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What it has said before is still there to be read; the end of that is the end.
                Err(_) => *deaf = true,
            }
        }
        if self.client_ended && !*told_end {
            *told_end = true;
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// `false`: nobody reads it.
    fn send_down(&mut self) -> bool {
        while let Some(line) = self.down.lines.front() {
            match self.stdout.write(line, self.down.written) {
                Ok(count) => self.down.wrote(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

struct Ready {
    client: bool,
    gateway: bool,
    client_gone: bool,
}

// === impl Gateway ===

impl Gateway {
    fn new(link: Link) -> io::Result<Self> {
        let Link { stream, gateway, ahead } = link;
        stream.set_nonblocking(true)?;
        let mut lines = Lines::new(MAX_ANSWER);
        lines.room().extend_from_slice(&ahead);
        Ok(Self::Here { stream, pid: gateway.pid, since: Instant::now(), lines, deaf: false, told_end: false })
    }
}
