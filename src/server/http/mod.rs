//! The HTTP front: MCP over streamable HTTP, health, metrics and the admin API, on TCP and on the admin socket.
//!
//! `accept` owns connections, `guard` looks at every request first, `mcp` and `stream` are the protocol, the rest is the
//! admin side. One [`Front`] per listener; everything else is shared.

mod accept;
mod api;
mod api_call;
mod api_config;
mod api_follow;
mod api_groups;
mod api_load;
mod body;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod guard;
mod health;
mod mcp;
mod mcp_modern;
mod negotiate;
mod object;
mod param_headers;
mod parts;
mod refusal;
mod routes;
mod stream;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{ConnectClients, Gateway, Phase, Sessions};
use crate::{
    config::Limits,
    reload::ReloadHandle,
    telemetry::{About, Telemetry},
};

/// What every route may need.
pub struct HttpState {
    pub gateway: Arc<Gateway>,
    pub sessions: Arc<Sessions>,
    pub clients: Arc<ConnectClients>,
    pub reload: ReloadHandle,
    pub telemetry: Arc<Telemetry>,
    pub about: Arc<About>,
}

pub enum Listener {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// One listener's view of the gateway.
struct Front {
    state: Arc<HttpState>,
    bound: guard::Bound,
    phase: watch::Receiver<Phase>,
}

/// Accepts while the gateway serves; returns when it leaves and requests in flight are done (the caller bounds the time).
pub async fn serve(listener: Listener, state: Arc<HttpState>, phase: watch::Receiver<Phase>) {
    let bound = guard::Bound::of(&listener);
    let front = Arc::new(Front { state: state.clone(), bound, phase });
    // Two listeners sweep twice; the second sweep finds nothing.
    let sweeper = AbortOnDropHandle::new(tokio::spawn(sweep(state)));
    accept::run(listener, front).await;
    drop(sweeper);
}

impl Front {
    /// Resolves when the gateway has come so far, or whoever would say so is gone.
    async fn reached(&self, phase: Phase) {
        let _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }

    /// Those in force now.
    fn limits(&self) -> Limits {
        self.state.gateway.registry.snapshot().config.server.limits.clone()
    }

    fn serves(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }
}

/// Forgets abandoned sessions. `server.session_idle_s` is looked up at every turn, so that a reload applies.
async fn sweep(state: Arc<HttpState>) {
    loop {
        let idle = state.gateway.registry.snapshot().config.server.session_idle;
        tokio::time::sleep((idle / 4).clamp(Duration::from_secs(1), Duration::from_secs(60))).await;
        state.sessions.sweep(idle);
    }
}
