//! What a service manager (systemd) is told, and what it gives: its notifications, its watchdog, its sockets. Without one all
//! of it does nothing.

use std::{io, net::TcpListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Clients are served.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload, or a restart in place, has begun; [`ready`] says that it is over, however it went. Both in one datagram: a
/// manager that waits for the reload takes no other.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "service_manager_not_told"),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// A sign of life each half of the time that the manager allows; ends with the runtime that it is a sign of.
pub(super) async fn keep_watchdog_quiet() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut beat = tokio::time::interval((limit / 2).max(Duration::from_millis(10)));
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

/// The socket that the manager listens on for us, if it does.
pub(super) fn activated() -> io::Result<Option<TcpListener>> {
    let mut given = ListenFd::from_env();
    if given.len() == 0 {
        return Ok(None);
    }
    given.take_tcp_listener(0)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "service_manager_not_told");
    }
}
