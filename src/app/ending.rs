//! The end of a running gateway: a stop in its phases, or the way into its next life.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    dotenv::Marks,
    handover::{Handover, State},
    listeners, loaded,
    restart::NextLife,
    running::{Kept, Running, Tasks, Verdict},
    service_manager,
    signals::{Sent, Signal},
};
use crate::{
    provider::Client as _,
    server::Phase,
    telemetry::Event,
    wire::{self, hex},
};

/// The whole stop, everything included. CONTRACT section 7.
const STOP_LIMIT: Duration = Duration::from_secs(45);
/// How long a stdio client may take to read its last answers.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long calls in flight hold up a restart before their providers are told to end.
const RESTART_DRAIN: Duration = Duration::from_secs(20);

impl Running {
    pub(super) async fn stopped(
        mut self,
        tasks: Tasks,
        asked: bool,
        signals: &mut mpsc::Receiver<Sent>,
        began: Instant,
    ) {
        tracing::info!("gateway_stopping");
        service_manager::stopping();
        let Tasks { fronts, phase, ends, mut client, kept, .. } = tasks;
        // Not one connection waits for a gateway that will not take it.
        let Kept { http, admin, file, door } = kept;
        drop((http, admin));
        phase.send_replace(Phase::Refusing);
        // The next gateway for these clients may start while this one drains.
        drop(door);
        tell_phase("accepting_ended", began);
        self.say_goodbye("the gateway is stopping");
        // Who would come back finds nobody; the providers need not wait for them.
        self.gateway.parking.clear();
        self.stop.send_replace(true);
        let client_ended = client.is_finished();
        let drained = async {
            let _ = (&mut self.reloader).await;
            tell_phase("providers_stopped", began);
            // Every call has its answer by now; let the fronts send it.
            ends.finish.cancel();
            phase.send_replace(Phase::Leaving);
            self.state.sessions.end_listening();
            if !client_ended && self.state.about.transport == "stdio" {
                let _ = tokio::time::timeout(LAST_WORDS, &mut client).await;
            }
            fronts.close();
            fronts.wait().await;
            self.state.sessions.close_all();
            tell_phase("sessions_closed", began);
            self.gateway.registry.ground.tasks.close();
            self.gateway.registry.ground.tasks.wait().await;
        };
        let outcome = tokio::select! {
            () = drained => Some(()),
            () = tokio::time::sleep(STOP_LIMIT) => {
                tracing::warn!(limit_s = STOP_LIMIT.as_secs(), "gateway_stop_forced");
                None
            }
            () = insisted(signals, asked) => {
                tracing::warn!("second stop signal: leaving at once; the shims finish the providers");
                None
            }
        };
        if outcome.is_none() {
            // Their ladders go on without us, from the rung that ends them.
            self.gateway.registry.snapshot().providers.values().for_each(|provider| provider.hurry());
        }
        drop((self.pid_files, file));
        tell_phase("files_removed", began);
        if outcome.is_some() {
            tracing::info!(duration_ms = milliseconds(began), "gateway_stopped");
            self.state.telemetry.emit(Event::GatewayStopped { duration: began.elapsed() });
        }
    }

    pub(super) async fn restarted(
        mut self,
        tasks: Tasks,
        moved: Option<TcpListener>,
        sent: Sent,
        signals: &mut mpsc::Receiver<Sent>,
        began: Instant,
    ) -> Verdict {
        tracing::info!(sender_pid = sent.pid, sender_uid = sent.uid, "gateway_restarting");
        service_manager::reloading();
        let Tasks { fronts, phase, ends, mut client, kept, .. } = tasks;
        // Whoever comes from here on waits for the next life; what was begun is finished.
        ends.pause.cancel();
        phase.send_replace(Phase::Leaving);
        self.state.sessions.end_listening();
        self.gateway.parking.clear();
        tell_phase("accepting_paused", began);
        let is_stdio = self.state.about.transport == "stdio";
        let mut stdio = None;
        let drained = async {
            fronts.close();
            let calls = async {
                if is_stdio {
                    stdio = (&mut client).await.ok();
                }
                fronts.wait().await;
            };
            let mut calls = std::pin::pin!(calls);
            let in_time = tokio::time::timeout(RESTART_DRAIN, &mut calls).await.is_ok();
            tell_phase("calls_drained", began);
            self.stop.send_replace(true);
            let stopped = CancellationToken::new();
            let providers = async {
                let _ = (&mut self.reloader).await;
                tell_phase("providers_stopped", began);
                stopped.cancel();
            };
            // Calls that were not waited for are answered by their providers' end; until it is read there is no next life.
            let last_words = async {
                let too_late = async {
                    stopped.cancelled().await;
                    tokio::time::sleep(LAST_WORDS).await;
                };
                if !in_time {
                    tokio::select! {
                        () = calls => {}
                        () = too_late => {}
                    }
                }
            };
            tokio::join!(providers, last_words);
            self.gateway.registry.ground.tasks.close();
            self.gateway.registry.ground.tasks.wait().await;
        };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(STOP_LIMIT) => tracing::warn!(limit_s = STOP_LIMIT.as_secs(), "gateway_stop_forced"),
            () = insisted(signals, true) => {
                tracing::info!("stop signal: the restart becomes a stop");
                return Verdict::Stopped;
            }
        }
        let Some(executable) = self.executable else { return Verdict::Stopped };
        let mut handover = Handover::of(State {
            generation_id: self.state.about.generation_id.to_string(),
            sender_pid: sent.pid,
            sender_uid: sent.uid,
            activated: kept.http.is_some() && self.wanted.is_none(),
            sessions: self.state.sessions.records().into_iter().map(|(key, r)| (hex::encode(key), r)).collect(),
            stdio,
            variables: Some(Marks::of(&self.state.reload.variables())),
            loaded: loaded::records(&self.gateway.registry.snapshot()),
            connected: Vec::new(),
        });
        if let Some((door, front)) = kept.door {
            door.hand_over(front.carried(), &mut handover);
        }
        let http = moved.map(|listener| listener.as_fd().try_clone_to_owned().ok()).unwrap_or(kept.http);
        for (name, fd) in [(listeners::HTTP, http), (listeners::ADMIN, kept.admin)] {
            if let Some(fd) = fd {
                handover.put(name, fd);
            }
        }
        self.pid_files.hand_over(&mut handover);
        // The socket's file stays: its listener lives on.
        std::mem::forget(kept.file);
        tracing::info!(duration_ms = milliseconds(began), executable = %executable.display(), "gateway_becomes_its_next_life");
        self.state.telemetry.emit(Event::GatewayRestarting);
        Verdict::Restart(Box::new(NextLife { executable, handover }))
    }

    /// The last notification, to every client that hears.
    fn say_goodbye(&self, data: &str) {
        let params = json!({"level": "warning", "logger": "hangar", "data": data}).to_string();
        let message = wire::notification("notifications/message", params.as_bytes());
        self.state.sessions.each(|session| {
            if session.greeting().is_some() && session.wants_log("warning") {
                session.push(message.clone());
            }
        });
    }
}

/// A stop signal while the end is under way; the second one where nobody has `asked` yet.
async fn insisted(signals: &mut mpsc::Receiver<Sent>, mut asked: bool) {
    loop {
        match signals.recv().await {
            Some(Sent { signal: Signal::Stop, .. }) if asked => return,
            Some(Sent { signal: Signal::Stop, .. }) => asked = true,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

fn tell_phase(phase: &'static str, began: Instant) {
    tracing::info!(phase, elapsed_ms = milliseconds(began), "gateway_stop_phase");
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
