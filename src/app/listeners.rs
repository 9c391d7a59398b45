//! The sockets that the gateway listens on: the one for clients, and the one for the command line.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener};

use super::{ServeError, ServeOptions, handover::Handover, service_manager};
use crate::{config::Config, runtime_dir};

/// Names of their descriptors in a [`Handover`].
pub(super) const HTTP: &str = "http";
pub(super) const ADMIN: &str = "admin";

/// The admin socket and its file, which is removed with it.
pub(super) struct AdminSocket {
    pub listener: UnixListener,
    pub file: SocketFile,
}

/// A socket's place in the file system; dropped: removed.
pub(super) struct SocketFile(pub PathBuf);

/// The listener for clients over HTTP.
pub(super) struct Http {
    pub listener: TcpListener,
    /// Host and port that the configuration wanted when it was bound. `None`: the service manager has bound it, and only
    /// that one can move it.
    pub wanted: Option<(String, u16)>,
}

/// An earlier life's, the service manager's, or a new one.
pub(super) async fn http(config: &Config, options: &ServeOptions, earlier: &mut Handover) -> Result<Http, ServeError> {
    let wanted = {
        let (host, port) = wanted(config, options);
        Some((host.to_owned(), port))
    };
    if let Some(fd) = earlier.take(HTTP) {
        let wanted = wanted.filter(|_| !earlier.state.activated);
        return Ok(Http { listener: adopt(fd.into())?, wanted });
    }
    match service_manager::activated() {
        Ok(Some(listener)) => {
            let address = listener.local_addr()?;
            refuse_open_address(options, &address.to_string(), &[address])?;
            tracing::info!(%address, "socket_activated");
            Ok(Http { listener: adopt(listener)?, wanted: None })
        }
        Ok(None) => Ok(Http { listener: bind(config, options).await?, wanted }),
        Err(error) => {
            Err(ServeError::Refused(format!("the socket that the service manager gave is of no use: {error}")))
        }
    }
}

/// A listener on the address that is configured.
pub(super) async fn bind(config: &Config, options: &ServeOptions) -> Result<TcpListener, ServeError> {
    let (host, port) = wanted(config, options);
    let address = format!("{host}:{port}");
    let bind_error = |error| ServeError::Bind { address: address.clone(), error };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await.map_err(bind_error)?.collect();
    refuse_open_address(options, &address, &addresses)?;
    TcpListener::bind(&addresses[..]).await.map_err(bind_error)
}

/// Host and port: what was typed wins over the file.
pub(super) fn wanted<'c>(config: &'c Config, options: &'c ServeOptions) -> (&'c str, u16) {
    let host = options.host.as_deref().unwrap_or(&config.server.host);
    (host, options.port.unwrap_or(config.server.port))
}

fn refuse_open_address(options: &ServeOptions, address: &str, addresses: &[SocketAddr]) -> Result<(), ServeError> {
    if options.insecure_no_auth || addresses.iter().all(|address| address.ip().is_loopback()) {
        return Ok(());
    }
    let why = format!(
        "{address} can be reached from other machines, and this version of hangar asks nobody who they are; bind to \
         127.0.0.1, or say --insecure-no-auth if the network itself is guarded"
    );
    Err(ServeError::Refused(why))
}

fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Where the command line reaches this gateway. Without one the gateway works, and says so.
pub(super) fn admin(config: &Path, earlier: &mut Handover) -> Option<AdminSocket> {
    let mut open = || -> io::Result<AdminSocket> {
        let path = runtime_dir::socket_path(config, std::process::id())?;
        if let Some(fd) = earlier.take(ADMIN) {
            let listener = std::os::unix::net::UnixListener::from(fd);
            listener.set_nonblocking(true)?;
            return Ok(AdminSocket { listener: UnixListener::from_std(listener)?, file: SocketFile(path) });
        }
        // A gateway that was killed leaves its socket; nobody listens there any more.
        runtime_dir::sockets_of(config).iter().for_each(|left| runtime_dir::remove_dead(left));
        let listener = UnixListener::bind(&path)?;
        let file = SocketFile(path);
        fs::set_permissions(&file.0, PermissionsExt::from_mode(0o600))?;
        Ok(AdminSocket { listener, file })
    };
    open().inspect_err(|error| tracing::warn!(%error, "no_admin_socket")).ok()
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already: as wanted.
        let _ = fs::remove_file(&self.0);
    }
}
