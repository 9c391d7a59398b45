//! A running server as its connection sees it: the link to it, and the task that notices its end.

use std::{
    future::pending,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rustix::net::SendFlags;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    process::Child,
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::outbox::{Outbox, WriterEnd};
use crate::transport::{
    Close, Connection, Exit, ExitCause, Link, Rung, TransportError,
    handover::{Report, TERM_NOW},
    shim::aftermath::Aftermath,
    sweep,
};

/// The last lines are in the pipe when the shim is reaped, unless somebody still holds its other end.
const LAST_LINES: Duration = Duration::from_millis(200);
/// The server has ended and its shim still ends what it left behind: so long for its last answers to be read.
const LAST_WORDS: Duration = Duration::from_millis(40);
/// A server whose stdout ended is about to be reported dead; if it is not, it lives on deaf.
const DEAF: Duration = Duration::from_millis(250);

/// Shared by the link and the tasks; none of them keeps the server alive.
pub(super) struct Process {
    outbox: Outbox,
    commands: OwnedWriteHalf,
    pid: u32,
    /// In the environment of everything the server starts.
    id: String,
    /// What has to be cleared away when the shim cannot.
    aftermath: Option<Arc<Aftermath>>,
    /// It was asked to stop.
    asked: AtomicBool,
    /// Why we ended it, when it was its own fault.
    fault: OnceLock<String>,
}

/// The link of a subprocess. Dropped: the stop ladder begins.
struct PipeLink(Arc<Process>);

/// What the shim tells, report by report.
pub(super) struct Reports(Lines<BufReader<OwnedReadHalf>>);

/// The tasks that read the server's output; [`Drop`] of the supervisor's future leaves them to end at end of file.
struct Intake {
    stdout: JoinHandle<()>,
    stderr: JoinHandle<()>,
}

impl Process {
    pub(super) fn new(
        outbox: Outbox,
        commands: OwnedWriteHalf,
        pid: u32,
        id: String,
        aftermath: Option<Aftermath>,
    ) -> Arc<Self> {
        let (asked, fault) = (AtomicBool::new(false), OnceLock::new());
        Arc::new(Self { outbox, commands, pid, id, aftermath: aftermath.map(Arc::new), asked, fault })
    }

    pub(super) fn connect(
        self: Arc<Self>,
        child: Child,
        reports: Reports,
        stdout: JoinHandle<()>,
        stderr: JoinHandle<()>,
    ) -> Connection {
        tokio::spawn(Arc::clone(&self).write());
        let (death, died) = oneshot::channel();
        let watch = tokio::spawn(Arc::clone(&self).watch(child, reports, Intake { stdout, stderr }, death));
        let died = async {
            match died.await {
                Ok(exit) => exit,
                // Nothing was left behind: the exit says it all.
                Err(_) => pending().await,
            }
        };
        let exit = async {
            watch
                .await
                .unwrap_or_else(|e| Exit { cause: ExitCause::Lost(format!("was lost sight of: {e}")), rung: None })
        };
        Connection { link: Arc::new(PipeLink(self)), died: Box::pin(died), exit: Box::pin(exit) }
    }

    fn close(&self, how: Close) {
        self.asked.store(true, Ordering::Release);
        self.outbox.close();
        if how == Close::Now {
            // The buffer has room for this byte; an error means that the shim is gone, which is what was wanted.
            let _ = rustix::net::send(self.commands.as_ref().as_fd(), &[TERM_NOW], SendFlags::NOSIGNAL);
        }
    }

    async fn write(self: Arc<Self>) {
        if let WriterEnd::Stalled { queued } = self.outbox.flush_forever().await {
            let _ = self.fault.set(format!("does not read its input (messages that wait: {queued}) and was stopped"));
            self.close(Close::Now);
        }
    }

    /// The server's life until all of it is gone.
    async fn watch(
        self: Arc<Self>,
        mut shim: Child,
        mut reports: Reports,
        mut intake: Intake,
        death: oneshot::Sender<Exit>,
    ) -> Exit {
        let (mut ended, mut rung) = (None, None::<Rung>);
        let mut death = Some(death);
        let mut deaf = Deaf::No;
        loop {
            tokio::select! {
                report = reports.next() => match report {
                    Some(Report::Rung(reached)) => rung = Some(reached),
                    Some(Report::Exited(cause)) => {
                        ended = Some(cause);
                        // It left at the end of its stdin before the shim saw that end.
                        rung = rung.or(self.asked.load(Ordering::Acquire).then_some(Rung::StdinClosed));
                    }
                    Some(Report::Started(_) | Report::Failed(_)) => {}
                    // The shim is going, and it is the last to go.
                    None => break,
                },
                () = sleep(LAST_WORDS), if ended.is_some() && death.is_some() => {
                    if let (Some(death), Some(cause)) = (death.take(), self.cause(ended.clone())) {
                        // Nobody may be interested any more.
                        let _ = death.send(Exit { cause, rung });
                    }
                }
                _ = &mut intake.stdout, if deaf == Deaf::No => deaf = Deaf::Since,
                () = sleep(DEAF), if deaf == Deaf::Since => {
                    deaf = Deaf::Told;
                    if ended.is_none() && !self.asked.load(Ordering::Acquire) {
                        let _ = self.fault.set("closed its output while it lived on, and was stopped".into());
                        self.close(Close::Graceful);
                    }
                }
            }
        }
        let status = shim.wait().await;
        // A shim that was killed leaves the gateway's end of stdin open; sends must fail from here on.
        self.outbox.close();
        if ended.is_none() {
            // Killed: it could not end what is below it. The server itself died with it.
            let (id, aftermath) = (self.id.clone(), self.aftermath.clone());
            let sweep = move || {
                sweep::sweep_connection(&id);
                aftermath.inspect(|aftermath| aftermath.clear(false));
            };
            let _ = tokio::task::spawn_blocking(sweep).await;
        }
        intake.finish(deaf != Deaf::No).await;
        let cause = self.cause(ended).unwrap_or_else(|| ExitCause::Lost(unreported(status.ok())));
        Exit { cause, rung }
    }

    /// A server that we ended for a fault of its own says so, and not which signal it took.
    fn cause(&self, reported: Option<ExitCause>) -> Option<ExitCause> {
        self.fault.get().map(|fault| ExitCause::Lost(fault.clone())).or(reported)
    }
}

/// Whether the server's stdout has ended.
#[derive(PartialEq, Eq)]
enum Deaf {
    No,
    Since,
    Told,
}

/// The shim ended without a word about the server.
fn unreported(status: Option<ExitStatus>) -> String {
    let how = match status.and_then(|s| s.signal()) {
        Some(signal) => format!("was killed by signal {signal}"),
        None => "failed".to_owned(),
    };
    format!("was lost: its shim {how}")
}

// === impl Intake ===

impl Intake {
    /// Waits for the last lines, but not for a survivor that holds the pipes.
    async fn finish(mut self, stdout_ended: bool) {
        let all = async {
            if !stdout_ended {
                let _ = (&mut self.stdout).await;
            }
            let _ = (&mut self.stderr).await;
        };
        let _ = timeout(LAST_LINES, all).await;
        self.stdout.abort();
        self.stderr.abort();
    }
}

// === impl Reports ===

impl Reports {
    pub(super) fn new(control: OwnedReadHalf) -> Self {
        Self(BufReader::with_capacity(256, control).lines())
    }

    /// `None`: the shim is gone. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Report> {
        loop {
            let line = self.0.next_line().await.ok()??;
            if let Some(report) = Report::parse(&line) {
                return Some(report);
            }
        }
    }
}

// === impl PipeLink ===

impl Link for PipeLink {
    fn send(&self, message: Bytes, _request: Option<u64>) -> Result<(), TransportError> {
        self.0.outbox.send(crate::wire::one_line(message))
    }

    fn abandon(&self, _id: u64) {}

    fn negotiated(&self, _version: &str) {}

    fn close(&self, how: Close) {
        self.0.close(how);
    }

    fn pid(&self) -> Option<u32> {
        Some(self.0.pid)
    }
}

impl Drop for PipeLink {
    fn drop(&mut self) {
        self.0.close(Close::Graceful);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader as StdBufReader, Write};

    use tokio::net::{UnixStream, unix::pipe};

    use super::*;
    use crate::transport::subprocess::outbox::Bounds;

    /// A shim of our own making: it hears one command and reports what it is told to.
    fn connect(
        bounds: Bounds,
        report: &'static str,
    ) -> (Connection, std::thread::JoinHandle<String>, std::io::PipeReader) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (reports, commands) = UnixStream::from_std(ours).unwrap().into_split();
        let (server, stdin) = std::io::pipe().unwrap();
        let outbox = Outbox::new(pipe::Sender::from_owned_fd(stdin.into()).unwrap(), bounds);
        let heard = std::thread::spawn(move || {
            let mut heard = [0];
            std::io::Read::read_exact(&mut &theirs, &mut heard).unwrap();
            (&theirs).write_all(report.as_bytes()).unwrap();
            String::from_utf8(heard.to_vec()).unwrap()
        });
        let child = tokio::process::Command::new("true").spawn().unwrap();
        let (stdout, stderr) = (tokio::spawn(async { sleep(Duration::from_secs(60)).await }), tokio::spawn(async {}));
        (
            Process::new(outbox, commands, 1, "test".into(), None).connect(
                child,
                Reports::new(reports),
                stdout,
                stderr,
            ),
            heard,
            server,
        )
    }

    #[tokio::test]
    async fn a_server_that_takes_nothing_is_stopped_and_the_exit_says_why() {
        let bounds = Bounds { stall: Duration::from_millis(100), ..Bounds::default() };
        let (connection, heard, server) = connect(bounds, "rung term\nsignal 15\n");
        connection.link.send(Bytes::from(vec![b'x'; 100_000]), Some(1)).unwrap();
        let exit = connection.exit.await;
        assert_eq!(heard.join().unwrap(), "t");
        assert_eq!(exit.to_string(), "does not read its input (messages that wait: 1) and was stopped");
        assert_eq!(exit.rung, Some(Rung::Term));
        // What was sent is cut off, and then there is the end: the server cannot wait for more.
        let mut line = Vec::new();
        StdBufReader::new(server).read_until(b'\n', &mut line).unwrap();
        assert!(!line.is_empty() && line.len() < 100_000);
    }

    #[tokio::test]
    async fn an_exit_waits_only_a_moment_for_a_reader_that_never_ends() {
        let (connection, _heard, _server) = connect(Bounds::default(), "code 3\n");
        let start = std::time::Instant::now();
        connection.link.close(Close::Now);
        assert_eq!(connection.exit.await.to_string(), "exited with code 3");
        assert!(start.elapsed() >= LAST_LINES && start.elapsed() < Duration::from_secs(10));
    }
}
