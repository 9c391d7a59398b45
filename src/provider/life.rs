//! From its birth (`birth`) on: watching an instance, and ending it. One task per instance holds its connection until its release.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    CallError, Era, Failure, Provider, ProviderState, StateEvent, StopOrder, Upstream, health::Unwell, primitives::at,
};
use crate::{
    telemetry::{Event, StopReason},
    transport::{Close, Connection, Exit},
};

#[cfg(all(test, feature = "shuttle"))]
mod interleavings;

/// How a live instance came to its end.
struct Ended {
    event: StateEvent,
    reason: StopReason,
    exit: End,
}

enum End {
    /// All of it is gone.
    Gone(Exit),
    /// Its own process is gone, and what that left behind is being ended.
    Died(Exit),
}

impl End {
    fn how(&self) -> &Exit {
        let (Self::Gone(exit) | Self::Died(exit)) = self;
        exit
    }
}

impl Provider {
    /// From INITIALIZING until everything this instance held is free again.
    pub(super) async fn life(self: Arc<Self>, attempt: u64) {
        let Some(slot) = self.take_slot().await else { return self.start_failed(attempt, None) };
        // Once its own predecessor is gone: a reload must not run out of room.
        let room = match self.room() {
            Ok(room) => room,
            Err(most) => return self.start_refused(attempt, most),
        };
        let started = Instant::now();
        let mut brought = self.bring_up(self.opening()).await;
        if brought.as_ref().is_err_and(|stillborn| stillborn.of_probe) {
            // Some servers end at a first word that they do not know. This one is not asked again.
            self.probe_harms.store(true, Ordering::Relaxed);
            brought = self.bring_up(self.opening()).await;
        }
        let ended = match brought {
            Ok((mut connection, upstream, catalogue)) => {
                self.ready(&upstream, catalogue, started.elapsed());
                match self.watch(&mut connection, &upstream).await {
                    ended @ Ended { exit: End::Gone(_), .. } => Some((upstream, ended)),
                    // Told at once; but the slot is free when what it left behind is gone, too.
                    ended @ Ended { exit: End::Died(_), .. } => {
                        self.released(attempt, &upstream, ended);
                        connection.exit.await;
                        None
                    }
                }
            }
            Err(stillborn) => {
                self.start_failed(attempt, stillborn.failure);
                if let Some(connection) = stillborn.connection {
                    connection.link.close(Close::Now);
                    connection.exit.await;
                }
                None
            }
        };
        // Whoever sees COLD and starts again must find the slot free, or at least no instance in it.
        drop((room, slot));
        if let Some((upstream, ended)) = ended {
            self.released(attempt, &upstream, ended);
        }
    }

    /// Until it is gone, or stopped and gone.
    async fn watch(self: &Arc<Self>, connection: &mut Connection, upstream: &Arc<Upstream>) -> Ended {
        let ends = CancellationToken::new();
        let _helpers = ends.clone().drop_guard();
        self.lives.spawn(ends.clone().run_until_cancelled_owned(self.clone().keep_probing(upstream.clone())));
        if upstream.era() == Era::Modern {
            self.lives.spawn(ends.clone().run_until_cancelled_owned(self.clone().keep_listening(upstream.clone())));
        }
        self.lives.spawn(ends.run_until_cancelled_owned(self.clone().keep_catalogue(upstream.clone())));
        let order = loop {
            let wake_at = self.next_look();
            tokio::select! {
                biased;
                exit = &mut connection.exit => return self.gone(End::Gone(exit)),
                exit = &mut connection.died => return self.gone(End::Died(exit)),
                () = self.wake.notified() => {}
                () = at(wake_at) => {}
            }
            if let Some(order) = self.due_order() {
                break order;
            }
        };
        upstream.end(CallError::Cut { provider: self.name.clone(), reason: order.reason.as_str() });
        connection.link.close(Close::Graceful);
        let exit = End::Gone((&mut connection.exit).await);
        Ended { event: StateEvent::Released, reason: order.reason, exit }
    }

    /// When the live loop has to look again: the idle time is over, or a drain.
    fn next_look(&self) -> Option<Instant> {
        let core = self.core();
        if let Some(order) = core.order {
            return Some(if core.in_flight == 0 { Instant::now() } else { order.deadline });
        }
        let idle = self.spec.idle_ttl;
        // A call in flight is never idle, nor a task; a lease's return stamps the time from which idle is counted.
        (!idle.is_zero()).then(|| if core.is_idle() { core.last_used } else { Instant::now() } + idle)
    }

    /// The order to end now, if it is time. Decided under the lock that leases are given out under.
    fn due_order(&self) -> Option<StopOrder> {
        let mut core = self.core();
        let now = Instant::now();
        if core.order.is_none() {
            let idle = self.spec.idle_ttl;
            if idle.is_zero() || !core.is_idle() || now < core.last_used + idle {
                return None;
            }
            // Its client has a question of it before it, outside of every call.
            if core.upstream.as_ref().is_some_and(|upstream| upstream.is_asking()) {
                core.last_used = now;
                return None;
            }
            self.step(&mut core, StateEvent::Stop);
            core.order = Some(StopOrder { reason: StopReason::Idle, given: now, deadline: now });
        }
        let order = core.order.filter(|order| core.in_flight == 0 || now >= order.deadline)?;
        let cut = core.in_flight;
        drop(core);
        if order.reason != StopReason::Idle {
            let (provider, duration) = (self.name.to_string(), order.given.elapsed());
            self.ground.telemetry.emit(Event::ProviderDrained { provider, cut, duration });
        }
        Some(order)
    }

    /// It ended by itself.
    fn gone(&self, exit: End) -> Ended {
        let stopping = self.core().state == ProviderState::Stopping;
        if stopping {
            let reason = self.core().order.map_or(StopReason::Requested, |order| order.reason);
            return Ended { event: StateEvent::Released, reason, exit };
        }
        Ended { event: StateEvent::Gone, reason: StopReason::Exited, exit }
    }

    fn released(&self, attempt: u64, upstream: &Arc<Upstream>, ended: Ended) {
        let Ended { event, reason, exit } = ended;
        let exit = exit.how();
        let output = upstream.output_tail();
        let failures = {
            let mut core = self.core();
            core.upstream = None;
            core.order = None;
            core.ready_since = None;
            core.unwell = Unwell::default();
            let mut step = event;
            if event == StateEvent::Gone {
                let failure = Failure::of(format!("it {exit}"), output.clone());
                let (most, budget) = (self.spec.max_consecutive_failures, self.spec.crash_budget);
                if core.crashed(attempt, failure, most, budget, Instant::now()) {
                    step = StateEvent::GoneForGood;
                }
            }
            // A stop may have been ordered between the exit and now.
            let step = if core.state == ProviderState::Stopping { StateEvent::Released } else { step };
            self.step(&mut core, step);
            core.consecutive_failures
        };
        // After the change of state: whoever is told and calls again at once must not find the dead one.
        upstream.end(CallError::Gone { provider: self.name.clone(), exit: exit.to_string(), output });
        let provider = self.name.to_string();
        if event == StateEvent::Gone {
            let error = exit.to_string();
            self.ground.telemetry.emit(Event::ProviderFailed { provider: provider.clone(), failures, error });
        }
        self.ground.telemetry.emit(Event::ProviderStopped { provider, reason, exit: exit.to_string() });
    }

    /// Ends the instance, if there is one: no new calls, those in flight have until `drain` is over, then the ladder.
    /// With `retire` no other one will ever be started. Resolves when everything is released.
    pub(super) async fn stop_one(self: &Arc<Self>, reason: StopReason, drain: Duration, retire: bool) {
        let mut changes = self.state.subscribe();
        let attempt = self.order_stop(reason, drain, retire);
        if retire {
            self.lives.close();
            self.lives.wait().await;
            return;
        }
        while !self.is_over(attempt) {
            // The sender lives in self.
            let _ = changes.changed().await;
        }
    }

    /// The instance that is on its way down its ladder takes the last rungs at once.
    pub(super) fn hurry_one(&self) {
        if let Some(upstream) = &self.core().upstream {
            upstream.hurry();
        }
    }

    /// Whether the instance of `attempt` is at rest. Calls that waited for its end may have started the next one before
    /// anybody saw it so.
    fn is_over(&self, attempt: u64) -> bool {
        let core = self.core();
        core.attempt != attempt || matches!(core.state, ProviderState::Cold | ProviderState::Dead)
    }

    /// Gives the number of the start whose instance ends.
    fn order_stop(&self, reason: StopReason, drain: Duration, retire: bool) -> u64 {
        let mut core = self.core();
        if retire {
            core.retired.get_or_insert(reason);
            self.retirement.cancel();
        }
        let now = Instant::now();
        let order = StopOrder { reason, given: now, deadline: now + drain };
        match core.state {
            ProviderState::Ready | ProviderState::Degraded => {
                self.step(&mut core, StateEvent::Stop);
                core.order = Some(order);
            }
            ProviderState::Initializing => core.order = Some(order),
            ProviderState::Stopping => {
                if let Some(earlier) = &mut core.order {
                    earlier.deadline = earlier.deadline.min(order.deadline);
                }
            }
            ProviderState::Cold | ProviderState::Dead => {}
        }
        // Calls that wait for a start see the latch now.
        self.state.send_modify(|_| {});
        let attempt = core.attempt;
        drop(core);
        self.wake.notify_one();
        attempt
    }
}
