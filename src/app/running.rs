//! The gateway while it runs, and its end: a stop, or a restart in place.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{
    ServeOptions,
    daemon::{self, Door, DoorKept},
    handover::ClientRecord,
    listeners::{AdminSocket, Http, SocketFile},
    pid_files::PidFiles,
    restart::{self, NextLife, Refusal},
    service_manager,
    signals::{Sent, Signal},
    stale, stdio,
};
use crate::{
    reload::{ReloadHandle, ReloadOptions, Trigger, watch_containers, watch_sources},
    server::{
        self, ConnectFront, Gateway, News, Phase, Session,
        http::{self, HttpState, Listener},
        stdio::{Ends, Wire},
    },
    telemetry::{Event, build},
    wire::hex,
};

pub(super) struct Running {
    pub path: PathBuf,
    pub options: ServeOptions,
    pub executable: Option<PathBuf>,
    pub state: Arc<HttpState>,
    pub gateway: Arc<Gateway>,
    /// True: the reloader ends, and everything that is in force with it.
    pub stop: watch::Sender<bool>,
    pub reloader: JoinHandle<()>,
    pub news: News,
    pub pid_files: PidFiles,
    /// Where the HTTP listener was to be bound; `None`: there is none, or it cannot be moved.
    pub wanted: Option<(String, u16)>,
    /// The stdio client of an earlier life.
    pub client: Option<ClientRecord>,
}

/// What comes after.
pub(super) enum Verdict {
    Stopped,
    Restart(Box<NextLife>),
}

/// Why it ends.
enum End {
    /// `asked`: by a signal; else the client has left, and the first signal is the first.
    Stop {
        asked: bool,
    },
    Restart {
        moved: Option<TcpListener>,
        sent: Sent,
    },
}

/// Whether a restart would succeed, on its way; see [`restart::check`].
type Check = JoinHandle<Result<Option<TcpListener>, Refusal>>;

/// The stdio client's service; pending for ever where there is none.
pub(super) type Service = JoinHandle<ClientRecord>;

/// Copies of the listening sockets: as long as one is there nobody is refused.
pub(super) struct Kept {
    pub http: Option<OwnedFd>,
    pub admin: Option<OwnedFd>,
    pub file: Option<SocketFile>,
    pub door: Option<(DoorKept, Arc<ConnectFront>)>,
}

/// What runs beside the fronts.
pub(super) struct Tasks {
    pub fronts: TaskTracker,
    pub phase: watch::Sender<Phase>,
    pub ends: Ends,
    pub client: Service,
    pub kept: Kept,
    _informer: AbortOnDropHandle<()>,
    _containers: AbortOnDropHandle<()>,
    watcher: AbortOnDropHandle<()>,
    hangup: AbortOnDropHandle<()>,
    _watchdog: AbortOnDropHandle<()>,
}

impl Running {
    pub(super) async fn run(
        mut self,
        http: Option<Http>,
        admin: Option<AdminSocket>,
        door: Option<Door>,
        mut signals: mpsc::Receiver<Sent>,
    ) -> Verdict {
        let hangups = Arc::new(Notify::new());
        let tcp = http.map(|Http { listener, wanted }| {
            self.wanted = wanted;
            listener
        });
        // Ahead of every sign that the gateway has started: who sees one finds the file.
        self.pid_files.write(&self.state.about, self.executable.as_deref());
        let mut tasks = self.start(tcp, admin, door, &hangups);
        if self.options.daemon {
            daemon::tell_ready();
        }
        service_manager::ready("serving");
        let _stale = AbortOnDropHandle::new(tokio::spawn(stale::tend(self.path.clone(), self.state.clone())));
        let end = self.until_told(&mut signals, &hangups, &mut tasks.client).await;
        let began = Instant::now();
        tasks.watcher.abort();
        tasks.hangup.abort();
        match end {
            End::Stop { asked } => {
                self.stopped(tasks, asked, &mut signals, began).await;
                Verdict::Stopped
            }
            End::Restart { moved, sent } => self.restarted(tasks, moved, sent, &mut signals, began).await,
        }
    }

    fn start(
        &mut self,
        tcp: Option<TcpListener>,
        admin: Option<AdminSocket>,
        door: Option<Door>,
        hangups: &Arc<Notify>,
    ) -> Tasks {
        let spawned = |task| AbortOnDropHandle::new(task);
        let (phase, _) = watch::channel(Phase::Serving);
        let fronts = TaskTracker::new();
        let mut kept = Kept { http: None, admin: None, file: None, door: None };
        let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().ok();
        if let Some(AdminSocket { listener, file }) = admin {
            kept.admin = copy(listener.as_fd());
            kept.file = Some(file);
            fronts.spawn(http::serve(Listener::Unix(listener), self.state.clone(), phase.subscribe()));
        }
        if let Some(listener) = tcp {
            kept.http = copy(listener.as_fd());
            fronts.spawn(http::serve(Listener::Tcp(listener), self.state.clone(), phase.subscribe()));
        }
        let about = &self.state.about;
        let address = about.address.map(|address| address.to_string());
        tracing::info!(
            transport = about.transport,
            address,
            pid = std::process::id(),
            version = env!("CARGO_PKG_VERSION"),
            "gateway_started"
        );
        let (transport, version) = (about.transport, build::VERSION);
        self.state.telemetry.emit(Event::GatewayStarted { transport, version });
        let ends = Ends::default();
        if let Some(Door { listener, kept: door, carried }) = door {
            let (clients, generation) = (self.state.clients.clone(), about.generation_id.clone());
            let front = ConnectFront::new(self.gateway.clone(), clients, generation, ends.clone());
            fronts.spawn(front.clone().serve(listener, carried, phase.subscribe()));
            kept.door = Some((door, front));
        }
        let on_stdio = about.transport == "stdio";
        let (registry, sessions) = (self.gateway.registry.clone(), self.state.sessions.clone());
        let news = std::mem::replace(&mut self.news, News::silent());
        let client = self.client.take();
        Tasks {
            _informer: spawned(tokio::spawn(server::keep_clients_informed(registry, sessions, news))),
            _containers: spawned(tokio::spawn(watch_containers(self.state.reload.clone()))),
            watcher: spawned(tokio::spawn(watch_sources(self.state.reload.clone()))),
            hangup: spawned(tokio::spawn(reload_at(hangups.clone(), self.state.reload.clone()))),
            _watchdog: spawned(tokio::spawn(service_manager::keep_watchdog_quiet())),
            client: tokio::spawn(stdio_client(self.state.clone(), on_stdio, client, ends.clone())),
            fronts,
            phase,
            ends,
            kept,
        }
    }

    /// Reloads at a SIGHUP, until something ends it.
    async fn until_told(&self, signals: &mut mpsc::Receiver<Sent>, hangups: &Notify, client: &mut Service) -> End {
        // The check of a restart that was asked for; meanwhile everything goes on.
        let mut checking: Option<(Check, Sent)> = None;
        let deserted = daemon::idle(self.gateway.registry.clone(), self.state.clients.clone());
        let mut deserted = std::pin::pin!(deserted);
        loop {
            let checked = async {
                match &mut checking {
                    Some((check, _)) => check.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                sent = signals.recv() => {
                    let Some(sent) = sent else { std::future::pending().await };
                    let Sent { signal, name, pid, uid } = sent;
                    tracing::info!(signal = name, sender_pid = pid, sender_uid = uid, "signal_received");
                    match signal {
                        Signal::Stop => return End::Stop { asked: true },
                        _ if sent.is_foreign() => {
                            tracing::warn!(signal = name, sender_pid = pid, sender_uid = uid, "signal_refused");
                        }
                        Signal::Reload => hangups.notify_one(),
                        // Asked for again while it is being prepared: one restart.
                        Signal::Restart if checking.is_some() => {}
                        Signal::Restart => checking = Some((self.check_restart(), sent)),
                    }
                }
                outcome = checked => {
                    let sent = checking.take().map(|(_, sent)| sent);
                    match (outcome.unwrap_or_else(|error| Err(Refusal::of(error.to_string()))), sent) {
                        (Ok(moved), Some(sent)) => return End::Restart { moved, sent },
                        (Err(refusal), Some(sent)) => self.restart_refused(&refusal, sent),
                        (_, None) => {}
                    }
                }
                // The stdio client closed its end.
                _ = &mut *client => return End::Stop { asked: false },
                () = &mut deserted, if self.options.daemon => return End::Stop { asked: false },
            }
        }
    }

    fn check_restart(&self) -> Check {
        let (executable, path, options) = (self.executable.clone(), self.path.clone(), self.options.clone());
        let wanted = self.wanted.clone();
        tokio::spawn(async move {
            let executable =
                executable.ok_or_else(|| Refusal::of("the gateway's own program file is not known".into()))?;
            restart::check(&executable, &path, &options, wanted).await
        })
    }

    fn restart_refused(&self, refusal: &Refusal, sent: Sent) {
        let Refusal { config_invalid, why } = refusal;
        tracing::warn!(why, sender_pid = sent.pid, "restart_refused");
        let told = json!({
            "status": "refused",
            "time": jiff::Timestamp::now().to_string(),
            "message": why,
            "config_invalid": config_invalid,
            "sender_pid": sent.pid,
            "sender_uid": sent.uid,
        });
        self.state.about.tell_restart(told);
    }
}

/// One reload at a time for however many SIGHUPs; one that comes during a run is answered by a run of its own.
async fn reload_at(hangups: Arc<Notify>, reload: ReloadHandle) {
    loop {
        hangups.notified().await;
        service_manager::reloading();
        // Success or failure: the reloader has told everybody.
        let _ = reload.reload(Trigger::Sighup, ReloadOptions::default()).await;
        service_manager::ready("serving");
    }
}

/// Serves the one stdio client; never ends when there is none.
async fn stdio_client(state: Arc<HttpState>, wanted: bool, earlier: Option<ClientRecord>, ends: Ends) -> ClientRecord {
    if !wanted {
        return std::future::pending().await;
    }
    let gateway = state.gateway.clone();
    let ClientRecord { session, unread } = earlier.unwrap_or_default();
    let session = match session {
        Some(record) => Session::resumed(record),
        None => Session::new(*gateway.registry.ground.catalogue_news.borrow()),
    };
    let unread = hex::decode(&unread).unwrap_or_default();
    match stdio::wire() {
        Ok((input, output)) => {
            state.sessions.keep(session.clone());
            let wire = Wire { input, output, gone: stdio::gone() };
            let unread = server::stdio::serve(gateway, session.clone(), wire, Bytes::from(unread), ends).await;
            ClientRecord { session: session.record(), unread: hex::encode(&unread) }
        }
        Err(error) => {
            tracing::error!(%error, "stdin or stdout cannot be used");
            ClientRecord::default()
        }
    }
}
