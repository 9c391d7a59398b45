//! The connect front: many clients on one socket, each like the one client of a stdio gateway.
//!
//! After a hello each way (`wire::hello`) a connection is newline-delimited JSON-RPC. A connection that is closed before the
//! gateway's hello was not served: the client tries again. At a restart in place connections are carried over: the next life
//! of the gateway goes on with them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    ConnectClients, Gateway, Phase, Session, SessionRecord,
    clients::{Joined, Visitor},
    stdio,
    stdio::{Ends, Wire},
};
use crate::wire::hello::{Hello, MAX_HELLO, PROTOCOL, Role};

/// Clients at one time; beyond it they wait in the system's queue.
/// Longest a client may take to say hello.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to read its last answers when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After an accept error that is not one connection's own (no file descriptors left).
const BACK_OFF: Duration = Duration::from_millis(100);
/// How often a closed connection is looked for, once its client has said everything.
const LOOK: Duration = Duration::from_millis(100);

pub struct ConnectFront {
    pub gateway: Arc<Gateway>,
    pub clients: Arc<ConnectClients>,
    pub generation_id: Arc<str>,
    pub ends: Ends,
    carried: Mutex<Vec<Carried>>,
}

/// A connection on its way to the next life of the gateway.
pub struct Carried {
    pub stream: OwnedFd,
    pub record: CarriedRecord,
}

/// What is known of its client.
#[derive(Debug, Serialize, Deserialize)]
pub struct CarriedRecord {
    session: Option<SessionRecord>,
    /// What was read and not served. It may end in the middle of a character.
    unread: Vec<u8>,
    visitor: Visitor,
}

impl ConnectFront {
    pub fn new(gateway: Arc<Gateway>, clients: Arc<ConnectClients>, generation_id: Arc<str>, ends: Ends) -> Arc<Self> {
        Arc::new(Self { gateway, clients, generation_id, ends, carried: Mutex::default() })
    }

    /// Goes on with the connections of an earlier life, accepts while the gateway serves, and then serves the connections
    /// there are until they end or one of `ends` fires.
    pub async fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        earlier: Vec<Carried>,
        mut phase: watch::Receiver<Phase>,
    ) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(self.gateway.limits().connect_clients));
        for carried in earlier {
            let front = self.clone();
            connections.spawn(async move { front.resume(carried).await });
        }
        loop {
            let accepted = tokio::select! {
                biased;
                // An error: the one who would end it is gone.
                _ = phase.wait_for(|phase| *phase > Phase::Serving) => break,
                accepted = accept(&listener, &room) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let front = self.clone();
                    connections.spawn(async move {
                        front.connection(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connect_accept_failed");
                    sleep(BACK_OFF).await;
                }
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// Connections that wait for the next life.
    pub fn carried(&self) -> Vec<Carried> {
        std::mem::take(&mut self.carried.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn connection(&self, mut stream: UnixStream) {
        let peer = stream.peer_cred();
        let own = rustix::process::geteuid().as_raw();
        let (uid, pid) = peer.map_or((None, None), |peer| (Some(peer.uid()), peer.pid()));
        if !uid.is_some_and(|uid| uid == own || uid == 0) {
            tracing::warn!(peer_uid = uid, peer_pid = pid, "connect_client_refused: it is another user's");
            return;
        }
        let said = tokio::select! {
            said = timeout(HELLO_TIME, receive(&mut stream)) => said,
            // It finds the next one.
            () = self.ends.pause.cancelled() => return,
        };
        let Ok(Some(hello)) = said else {
            tracing::debug!(peer_pid = pid, "connect_client_without_hello");
            return;
        };
        // One that is greeted has joined: the gateway does not leave for want of clients then.
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(hello.pid);
        let visitor = Visitor::new(&hello, pid);
        let session = Session::new(*self.gateway.registry.ground.catalogue_news.borrow());
        let joined = match hello.protocol == PROTOCOL {
            true => match self.clients.join(session.clone(), visitor.clone()) {
                Some(joined) => Some(joined),
                None => return,
            },
            false => None,
        };
        let mine = Hello::of_gateway(&self.generation_id, self.gateway.limits().line);
        if stream.write_all(&mine.line()).await.is_err() {
            return;
        }
        if hello.protocol != PROTOCOL || !hello.same_version() {
            self.clients.count_mismatch();
            tracing::warn!(
                client_version = %hello.version,
                client_protocol = hello.protocol,
                client_pid = pid,
                version = env!("CARGO_PKG_VERSION"),
                protocol = PROTOCOL,
                "connect_version_mismatch"
            );
        }
        // The client says why to its user.
        if let Some(joined) = joined {
            self.session(stream, session, Bytes::new(), visitor, joined).await;
        }
    }

    async fn resume(&self, carried: Carried) {
        let Carried { stream, record: CarriedRecord { session, unread, visitor } } = carried;
        let stream = std::os::unix::net::UnixStream::from(stream);
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let session = match session {
            Some(record) => Session::resumed(record),
            None => Session::new(*self.gateway.registry.ground.catalogue_news.borrow()),
        };
        match stream {
            Ok(stream) => {
                // Of a gateway that has just begun: it is not leaving.
                let Some(joined) = self.clients.join(session.clone(), visitor.clone()) else { return };
                self.session(stream, session, unread.into(), visitor, joined).await;
            }
            Err(error) => tracing::warn!(%error, "connect_client_lost"),
        }
    }

    async fn session(
        &self,
        stream: UnixStream,
        session: Arc<Session>,
        unread: Bytes,
        visitor: Visitor,
        joined: Joined,
    ) {
        let Some(key) = self.gateway.sessions.open_connected(session.clone()) else { return };
        let carrying = stream.as_fd().try_clone_to_owned();
        match wire(stream) {
            Ok(wire) => {
                let served = stdio::serve(self.gateway.clone(), session.clone(), wire, unread, self.ends.clone());
                let out_of_time = async {
                    self.ends.finish.cancelled().await;
                    sleep(LAST_WORDS).await;
                };
                tokio::select! {
                    unread = served => {
                        if let (true, Ok(stream)) = (self.ends.pause.is_cancelled(), carrying) {
                            self.carry_over(stream, session.record(), &unread, visitor);
                        }
                    }
                    () = out_of_time => {}
                }
            }
            Err(error) => tracing::warn!(%error, "connect_client_lost"),
        }
        self.gateway.sessions.close(&key);
        drop(joined);
    }

    fn carry_over(&self, stream: OwnedFd, session: Option<SessionRecord>, unread: &[u8], visitor: Visitor) {
        let record = CarriedRecord { session, unread: unread.to_vec(), visitor };
        self.carried.lock().unwrap_or_else(PoisonError::into_inner).push(Carried { stream, record });
    }
}

async fn accept(listener: &UnixListener, room: &Arc<Semaphore>) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, permit))
}

/// Its halves leave the connection as it is when they are dropped: it may be carried over.
fn wire(stream: UnixStream) -> io::Result<Wire<ReadHalf<UnixStream>, WriteHalf<UnixStream>, impl Future<Output = ()>>> {
    let looked_at = stream.as_fd().try_clone_to_owned()?;
    let (input, output) = tokio::io::split(stream);
    Ok(Wire { input, output, gone: gone(looked_at) })
}

/// Resolves when the client has closed both directions.
async fn gone(stream: OwnedFd) {
    loop {
        let mut fds = [PollFd::new(&stream, PollFlags::empty())];
        let ready = rustix::event::poll(&mut fds, Some(&Timespec::default()));
        if ready.is_ok() && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP)) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// `None`: what came is no hello. A client says nothing behind it before it has ours.
async fn receive(stream: &mut UnixStream) -> Option<Hello> {
    let mut line = Vec::with_capacity(256);
    while line.last() != Some(&b'\n') {
        let room = MAX_HELLO.checked_sub(line.len()).filter(|room| *room > 0)?;
        let mut limited = (&mut *stream).take(room as u64);
        if limited.read_buf(&mut line).await.ok()? == 0 {
            return None;
        }
    }
    Hello::parse(&line, Role::Connect)
}
