//! Connections: accepted, bounded in number and in the time a request head may take, ended gracefully.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, header::CONNECTION},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{Front, Listener, guard, routes};
use crate::server::Phase;

/// On the admin socket at one time, where the command line must get in whatever clients do; beyond it they wait in the
/// system's queue.
#[cfg(unix)]
const ADMIN_CONNECTIONS: usize = 1024;
/// How long a connection without a request waits for one, when the gateway leaves: it may be on its way, and who sent it
/// would not know whether it was served.
const LINGER: Duration = Duration::from_millis(250);
/// Read beyond the longest head, before it is seen to be too long.
const READ_AHEAD: usize = 64 * 1024;
/// Milliseconds that what was sent may wait for the client to take it.
#[cfg(target_os = "linux")]
const STALL_TIMEOUT_MS: u32 = 120_000;
/// After an accept error that is not one connection's own (no file descriptors left).
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts while the gateway serves; returns when the last connection is done.
pub(super) async fn run(listener: Listener, front: Arc<Front>) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(places(&listener, &front)));
    let app = routes::router(front.clone());
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = front.reached(Phase::Refusing) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (front, app) = (front.clone(), app.clone());
        if accepted.is_ok() {
            failing = false;
        }
        match accepted {
            Ok((Accepted::Tcp(stream), permit)) => {
                prepare(&stream);
                connections.spawn(connection(stream, front, app, permit));
            }
            #[cfg(unix)]
            Ok((Accepted::Unix(stream), permit)) => drop(connections.spawn(connection(stream, front, app, permit))),
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                // Once for all failures in a row.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "http_accept_failed");
                }
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn places(listener: &Listener, front: &Front) -> usize {
    match listener {
        Listener::Tcp(_) => front.limits().connections,
        #[cfg(unix)]
        Listener::Unix(_) => ADMIN_CONNECTIONS,
    }
}

/// A socket that refuses an option works all the same.
fn prepare(stream: &tokio::net::TcpStream) {
    // Nagle costs 40 ms a call.
    let _ = stream.set_nodelay(true);
    // A client that takes nothing any more must not hold its connection for ever.
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, STALL_TIMEOUT_MS);
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener, room: &Arc<Semaphore>) -> io::Result<(Accepted, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let accepted = match listener {
        Listener::Tcp(listener) => Accepted::Tcp(listener.accept().await?.0),
        #[cfg(unix)]
        Listener::Unix(listener) => Accepted::Unix(listener.accept().await?.0),
    };
    Ok((accepted, permit))
}

/// The peer went away between its arrival and our accept.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

async fn connection<S>(stream: S, front: Arc<Front>, app: Router, permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = front.limits();
    let of_calls = front.clone();
    let service = service_fn(move |request| answer(of_calls.clone(), app.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // What it reads at once is a bound, too, so that nothing is measured that was not taken; guard::admit counts exactly.
        .max_buf_size(limits.head + READ_AHEAD)
        .keep_alive(true)
        // A client that closes its end has gone: its call is dropped, which cancels it upstream.
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // From the refusing phase on every answer is the last of its connection.
    let leaving = async {
        front.reached(Phase::Leaving).await;
        tokio::time::sleep(LINGER).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = leaving => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "http_connection_ended");
    }
    drop(permit);
}

async fn answer(front: Arc<Front>, app: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let request = request.map(Body::new);
    let mut response = admitted(&front, app, request).await;
    if !front.serves() {
        // Whoever asks again finds somebody else, or nobody; not a connection that is about to end.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn admitted(front: &Front, app: Router, request: Request) -> Response {
    let visit = match guard::admit(front, &request) {
        Ok(visit) => visit,
        Err(refusal) => return guard::Visit::default().harden(refusal.into_response()),
    };
    if let Some(preflight) = visit.preflight(&request) {
        return visit.harden(preflight);
    }
    let Ok(response) = app.oneshot(request).await;
    visit.harden(response)
}
