//! A running container as its connection sees it: the link to it, and the task that notices its end and walks it down the
//! ladder. Whatever the end is, the container is removed before [`Connection::exit`] resolves, or the exit says why not.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use bollard::{
    models::ContainerStateStatusEnum as Status,
    query_parameters::{InspectContainerOptions, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};
use bytes::Bytes;
use tokio::{
    io::AsyncWrite,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    engine::{Engine, status, told},
    fate::{self, Fate},
    keeper::Keeper,
    outbox::{Outbox, STALL, WriterEnd},
};
use crate::{
    config::StopTimes,
    transport::{Close, Connection, Exit, ExitCause, Link, Rung, TransportError},
};

/// CONTRACT section 7: a container is gone within this, however patient `stop` is.
const WHOLE_LADDER: Duration = Duration::from_secs(30);
/// Of it, for SIGKILL and removal.
const LAST_RUNG: Duration = Duration::from_secs(5);
/// The engine closes the streams and then tells the end; when it does not, the connection to a living server is lost.
const DEAF: Duration = Duration::from_secs(2);
/// The last lines are on their way when the engine tells the end.
const LAST_LINES: Duration = Duration::from_millis(200);
/// An engine that is asked to remove may be busy with just that.
const REMOVE_EVERY: Duration = Duration::from_millis(250);
const REMOVE_WITHIN: Duration = Duration::from_secs(10);
/// How often, and at what distance, the keeper looks whether there is a running container.
const LOOKS: u32 = 12;
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Shared by the link and the tasks; none of them keeps the server alive.
pub(super) struct Container {
    engine: Engine,
    id: String,
    stop: StopTimes,
    /// Bytes.
    memory: u64,
    started: SystemTime,
    outbox: Outbox,
    asked: watch::Sender<Option<Close>>,
    /// `None` in the keeper itself, and once it has been let go.
    keeper: Mutex<Option<Keeper>>,
    /// Why we ended it, when it was its own fault.
    fault: OnceLock<String>,
}

/// The end of a container, to be awaited once.
type Ending = Pin<Box<dyn Future<Output = Fate> + Send>>;

/// Dropped: the stop ladder begins.
struct ContainerLink(Arc<Container>);

impl Container {
    /// `id`: or its name. `memory`: its limit in bytes.
    pub(super) fn new(engine: Engine, id: String, stop: StopTimes, memory: u64, keeper: Option<Keeper>) -> Arc<Self> {
        let (started, asked) = (SystemTime::now(), watch::Sender::new(None));
        let (outbox, keeper, fault) = (Outbox::default(), Mutex::new(keeper), OnceLock::new());
        Arc::new(Self { engine, id, stop, memory, started, outbox, asked, keeper, fault })
    }

    /// `fate`: begun before the start. `intake`: ends with the container's streams.
    pub(super) fn connect(
        self: Arc<Self>,
        stdin: Pin<Box<dyn AsyncWrite + Send>>,
        fate: JoinHandle<Fate>,
        intake: JoinHandle<()>,
    ) -> Connection {
        tokio::spawn(Arc::clone(&self).write(stdin));
        let ending: Ending = Box::pin(async { fate.await.unwrap_or(Fate::Unknown) });
        let watching = tokio::spawn(Arc::clone(&self).watch(ending, intake));
        let exit = async {
            watching
                .await
                .unwrap_or_else(|e| Exit { cause: ExitCause::Lost(format!("was lost sight of: {e}")), rung: None })
        };
        Connection { link: Arc::new(ContainerLink(self)), died: Box::pin(pending()), exit: Box::pin(exit) }
    }

    fn close(&self, how: Close) {
        self.asked.send_if_modified(|asked| {
            let stronger = asked.is_none() || how == Close::Now && *asked != Some(Close::Now);
            if stronger {
                *asked = Some(how);
            }
            stronger
        });
        self.outbox.close();
    }

    /// Resolves when it was asked to close, and so (`how`) or more strongly.
    async fn asked(&self, how: Close) {
        let fits = |asked: &Option<Close>| match asked {
            None => false,
            Some(Close::Graceful) => how == Close::Graceful,
            Some(Close::Now) => true,
        };
        // The sender lives in self.
        let _ = self.asked.subscribe().wait_for(fits).await;
    }

    fn blame(&self, fault: String) {
        let _ = self.fault.set(fault);
        self.close(Close::Now);
    }

    async fn write(self: Arc<Self>, stdin: Pin<Box<dyn AsyncWrite + Send>>) {
        if let WriterEnd::Stalled { queued } = self.outbox.write_to(stdin, STALL).await {
            self.blame(format!("does not read its input (messages that wait: {queued}) and was stopped"));
        }
    }

    /// The container's life until it is removed.
    async fn watch(self: Arc<Self>, mut ending: Ending, mut intake: JoinHandle<()>) -> Exit {
        let mut hears = true;
        let deaf = async {
            let _ = (&mut intake).await;
            hears = false;
            sleep(DEAF).await;
        };
        let by_itself = tokio::select! {
            biased;
            fate = &mut ending => Some(fate),
            () = self.asked(Close::Graceful) => None,
            () = deaf => {
                self.blame("lost its connection to the gateway while it lived on, and was stopped".into());
                None
            }
        };
        let (fate, rung) = match by_itself {
            Some(fate) => (Some(fate), None),
            None => self.ladder(&mut ending).await,
        };
        self.outbox.close();
        let removed = self.remove().await;
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Dropped when it is not removed: the keeper tries its own luck then.
        if let Some(keeper) = keeper.filter(|_| removed.is_ok()) {
            keeper.removed().await;
        }
        if hears && timeout(LAST_LINES, &mut intake).await.is_err() {
            intake.abort();
        }
        let cause = match removed {
            Ok(()) => self.cause(fate, rung).await,
            Err(why) => ExitCause::Lost(format!("was lost: {why}")),
        };
        Exit { cause, rung }
    }

    /// Without a gateway, whose end has closed its stdin: down the ladder and away with it.
    pub(super) async fn end(&self) -> Result<(), String> {
        let found = || self.engine.api.inspect_container(&self.id, None::<InspectContainerOptions>);
        for _ in 0..LOOKS {
            // The engine may be busy with its creation or its start; polite ones go meanwhile.
            sleep(LOOK_EVERY).await;
            let status = found().await.ok().and_then(|found| found.state).and_then(|state| state.status);
            if status.is_some_and(|status| status != Status::CREATED) {
                self.asked.send_replace(Some(Close::Graceful));
                let mut ending: Ending = Box::pin(fate::of(self.engine.clone(), self.id.clone()));
                self.ladder(&mut ending).await;
                break;
            }
        }
        self.remove().await
    }

    /// End of stdin, SIGTERM, SIGKILL. `None`: it did not even end then.
    async fn ladder(&self, ending: &mut Ending) -> (Option<Fate>, Option<Rung>) {
        let kill_at = Instant::now() + WHOLE_LADDER - LAST_RUNG;
        let patient = tokio::select! {
            biased;
            () = self.asked(Close::Now) => None,
            fate = timeout_at(kill_at.min(Instant::now() + self.stop.grace), &mut *ending) => fate.ok(),
        };
        if patient.is_some() {
            return (patient, Some(Rung::StdinClosed));
        }
        self.kill("SIGTERM").await;
        if let Ok(fate) = timeout_at(kill_at.min(Instant::now() + self.stop.term), &mut *ending).await {
            return (Some(fate), Some(Rung::Term));
        }
        self.kill("SIGKILL").await;
        (timeout(LAST_RUNG, ending).await.ok(), Some(Rung::Kill))
    }

    /// One that has ended already is no error, and what is wrong with the engine shows later.
    async fn kill(&self, signal: &str) {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let _ = timeout(LAST_RUNG, self.engine.api.kill_container(&self.id, Some(options))).await;
    }

    async fn remove(&self) -> Result<(), String> {
        remove(&self.engine, &self.id).await
    }

    /// A server that we ended for a fault of its own says so, and not how it ended.
    async fn cause(&self, fate: Option<Fate>, rung: Option<Rung>) -> ExitCause {
        if let Some(fault) = self.fault.get() {
            return ExitCause::Lost(fault.clone());
        }
        match fate {
            Some(Fate::Code(137)) if rung.is_none() => self.killed().await,
            Some(Fate::Code(code)) => ExitCause::Code(i32::try_from(code).unwrap_or(i32::MAX)),
            Some(Fate::EngineGone(why)) => ExitCause::Lost(format!("was lost: the container engine is gone ({why})")),
            Some(Fate::Unknown) | None if rung.is_some() => ExitCause::Closed,
            Some(Fate::Unknown) | None => {
                ExitCause::Lost("ended; its container is gone, and with it the exit code".into())
            }
        }
    }

    /// SIGKILL from somebody else, who mostly is the kernel.
    async fn killed(&self) -> ExitCause {
        let limit = self.memory / (1024 * 1024);
        let why = if fate::out_of_memory(&self.engine, &self.id, self.started).await {
            format!("was killed: it needed more memory than its limit of {limit} MiB (resources.memory)")
        } else {
            format!(
                "was killed by signal 9 (SIGKILL), possibly for memory: its limit is {limit} MiB (resources.memory)"
            )
        };
        ExitCause::Lost(why)
    }
}

/// Sees to it that no container `id` is left. Its being gone already is what is wanted.
pub(super) async fn remove(engine: &Engine, id: &str) -> Result<(), String> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    let until = Instant::now() + REMOVE_WITHIN;
    if engine.podman {
        // Its forced removal would first ask for 10 s. One that does not run is no error here.
        let now = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        let _ = timeout_at(until, engine.api.kill_container(id, Some(now))).await;
    }
    loop {
        let why = match timeout_at(until, engine.api.remove_container(id, Some(options.clone()))).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if status(&error) == Some(404) => return Ok(()),
            // 409: its removal is in progress. Anything else may pass.
            Ok(Err(error)) => told(&error),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() + REMOVE_EVERY > until {
            return Err(format!("its container {} could not be removed: {why}", id.get(..12).unwrap_or(id)));
        }
        sleep(REMOVE_EVERY).await;
    }
}

// === impl ContainerLink ===

impl Link for ContainerLink {
    fn send(&self, message: Bytes, _request: Option<u64>) -> Result<(), TransportError> {
        self.0.outbox.send(crate::wire::one_line(message))
    }

    fn abandon(&self, _id: u64) {}

    fn negotiated(&self, _version: &str) {}

    fn close(&self, how: Close) {
        self.0.close(how);
    }

    /// Unknown: what the engine calls a pid is one of the engine's machine, which need not be ours.
    fn pid(&self) -> Option<u32> {
        None
    }
}

impl Drop for ContainerLink {
    fn drop(&mut self) {
        self.0.close(Close::Graceful);
    }
}
