//! From settings to a running gateway to a drained one.

pub mod signals;
mod state_dir;
mod stdio;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Builder,
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    signals::{Sent, Signal},
    state_dir::StateDir,
};
use crate::{
    config::{self, Config, LogFormat, LogLevel, Problem},
    control::Control,
    provider::{CatalogueMemory, Ground},
    registry::Registry,
    reload::{ReloadError, ReloadHandle, ReloadOptions, Reloader, Trigger, watch_sources},
    runtime_dir,
    server::{
        self, Gateway, News, Session, Sessions,
        http::{self, HttpState, Listener},
        stdio::Wire,
    },
    telemetry::{About, Telemetry, logs, logs::LevelHandle},
    transport::{self, Marker},
};

/// The whole stop, everything included. CONTRACT section 7.
const STOP_LIMIT: Duration = Duration::from_secs(45);
/// How long a stdio client may take to read its last answers.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the last log lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Resource updates on their way to clients, and starts of instances on their way to the server.
const UPDATES: usize = 1024;

/// `hangar serve`.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    pub config: Option<PathBuf>,
    pub http: bool,
    /// Instead of `server.host`, `server.port`.
    pub host: Option<String>,
    pub port: Option<u16>,
    pub log_level: Option<LogLevel>,
    pub json_logs: bool,
    /// Bind to an address that others can reach, though nobody has to prove who they are.
    pub insecure_no_auth: bool,
}

/// Exit codes of CONTRACT section 5.
mod exit {
    pub const CONFIG_INVALID: u8 = 3;
    pub const REFUSED: u8 = 5;
    pub const INTERNAL: u8 = 70;
}

/// Why the gateway did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{0}")]
    NoConfig(Problem),
    #[error("{}", boot_text(.0))]
    Config(Box<ReloadError>),
    #[error("{0}")]
    Refused(String),
    #[error("cannot listen on {address}: {error}")]
    Bind { address: String, error: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Serves until it is told to stop.
pub fn run(options: ServeOptions) -> ExitCode {
    let outcome = serve_in_runtime(options);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The logger may not be up yet; stderr is where operators look in any case.
            let _ = writeln!(io::stderr(), "hangar: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve_in_runtime(options: ServeOptions) -> Result<(), ServeError> {
    let path = config::locate(options.config.as_deref()).map_err(ServeError::NoConfig)?;
    let path = std::path::absolute(path)?;
    let level = init_logs(&path, &options);
    let runtime = Builder::new_multi_thread().enable_all().thread_name("hangar").build()?;
    let outcome = runtime.block_on(serve(&path, options, level.clone()));
    // A read of a terminal's stdin cannot be called back; everything that matters is done.
    runtime.shutdown_timeout(Duration::from_millis(100));
    level.flush(LAST_LINES);
    outcome
}

/// The file's own wishes are needed before it is in force; its problems are told by the first reload.
fn init_logs(path: &Path, options: &ServeOptions) -> LevelHandle {
    let configured = config::load(path).map(|loaded| loaded.config.logging).unwrap_or_default();
    let format = if options.json_logs { LogFormat::Json } else { configured.format };
    logs::init(options.log_level, configured.level, format)
}

/// The gateway's parts while it runs.
struct Running {
    state: Arc<HttpState>,
    gateway: Arc<Gateway>,
    stop: watch::Sender<bool>,
    reloader: JoinHandle<()>,
    fronts: TaskTracker,
    news: News,
}

async fn serve(path: &Path, options: ServeOptions, level: LevelHandle) -> Result<(), ServeError> {
    let signals = signals::receive();
    let StartedCore { registry, reload, reloader, telemetry, news, marker, stop } = start_core(path, level);
    let booted = reload.reload(Trigger::Boot, ReloadOptions::default()).await;
    let report = booted.map_err(|error| ServeError::Config(Box::new(error)))?;
    report.warnings.iter().for_each(|warning| tracing::warn!(warning, "configuration_warning"));

    let tcp = if options.http { Some(bind(&registry.snapshot().config, &options).await?) } else { None };
    let socket = admin_socket(path);
    let about = Arc::new(About {
        started: Instant::now(),
        start_time: jiff::Timestamp::now().to_string(),
        transport: if options.http { "http" } else { "stdio" },
        address: tcp.as_ref().and_then(|listener| listener.local_addr().ok()),
        socket: socket.as_ref().map(|(_, path)| path.clone()),
        config: path.to_owned(),
        instance: marker.instance,
        generation_id: marker.generation,
    });
    registry.set_own_tools(Control::new(registry.clone(), reload.clone(), telemetry.clone(), about.clone()));
    let sessions = Sessions::new(telemetry.clone());
    let gateway = Arc::new(Gateway { registry: registry.clone(), sessions: sessions.clone() });
    let state = Arc::new(HttpState { gateway: gateway.clone(), sessions, reload, telemetry, about: about.clone() });
    let running = Running { state, gateway, stop, reloader, fronts: TaskTracker::new(), news };
    running.run(tcp, socket, signals).await
}

struct StartedCore {
    registry: Arc<Registry>,
    reload: ReloadHandle,
    reloader: JoinHandle<()>,
    telemetry: Arc<Telemetry>,
    news: News,
    marker: Marker,
    stop: watch::Sender<bool>,
}

/// Everything below the fronts, empty: the configuration comes with the first reload.
fn start_core(path: &Path, level: LevelHandle) -> StartedCore {
    let state_dir = StateDir::locate();
    let marker = Marker { instance: state_dir.instance(), generation: state_dir::random_id().into() };
    let telemetry = Telemetry::new();
    let (updates_in, updates) = mpsc::channel(UPDATES);
    let (started_in, started) = mpsc::channel(UPDATES);
    let ground = Arc::new(Ground {
        marker: marker.clone(),
        telemetry: telemetry.clone(),
        memory: CatalogueMemory::new(state_dir.catalogues()),
        tasks: TaskTracker::new(),
        catalogue_news: watch::Sender::default(),
        log_level: Default::default(),
        started: started_in,
        updates: updates_in,
    });
    let registry = Registry::new(ground);
    let apply = move |config: &Config| level.set(config.logging.level);
    let (stop, stopping) = watch::channel(false);
    let (reloader, reload) = Reloader::new(registry.clone(), path, apply, stopping);
    let reloader = tokio::spawn(reloader.run());
    let sweeping = marker.clone();
    // Ends by itself; an engine that is slow must not hold up the start.
    tokio::spawn(async move { transport::sweep_containers(&sweeping).await });
    let news = News { updates, started };
    StartedCore { registry, reload, reloader, telemetry, news, marker, stop }
}

impl Running {
    async fn run(
        self,
        tcp: Option<TcpListener>,
        socket: Option<(UnixListener, PathBuf)>,
        mut signals: mpsc::Receiver<Sent>,
    ) -> Result<(), ServeError> {
        let Self { state, gateway, stop, reloader, fronts, news } = self;
        let registry = gateway.registry.clone();
        let informer = tokio::spawn(server::keep_clients_informed(registry.clone(), state.sessions.clone(), news));
        let watcher = tokio::spawn(watch_sources(state.reload.clone()));
        let hangups = Arc::new(Notify::new());
        let hangup = tokio::spawn(reload_at(hangups.clone(), state.reload.clone()));
        let _socket_file = socket.as_ref().map(|(_, path)| RemovedOnDrop(path.clone()));
        if let Some((listener, _)) = socket {
            fronts.spawn(http::serve(Listener::Unix(listener), state.clone(), stop.subscribe()));
        }
        let over_http = tcp.is_some();
        if let Some(listener) = tcp {
            fronts.spawn(http::serve(Listener::Tcp(listener), state.clone(), stop.subscribe()));
        }
        let about = &state.about;
        let address = about.address.map(|address| address.to_string());
        tracing::info!(
            transport = about.transport,
            address,
            pid = std::process::id(),
            version = env!("CARGO_PKG_VERSION"),
            "gateway_started"
        );
        let finish = CancellationToken::new();
        let mut client = tokio::spawn(stdio_client(gateway, state.sessions.clone(), !over_http, finish.clone()));
        loop {
            tokio::select! {
                sent = signals.recv() => match sent {
                    Some(Sent { signal: Signal::Reload, pid, uid }) => {
                        tracing::info!(signal = "SIGHUP", sender_pid = pid, sender_uid = uid, "signal_received");
                        hangups.notify_one();
                    }
                    Some(Sent { signal: Signal::Stop, pid, uid }) => {
                        tracing::info!(signal = "SIGTERM or SIGINT", sender_pid = pid, sender_uid = uid, "signal_received");
                        break;
                    }
                    None => std::future::pending().await,
                },
                // The stdio client closed its end.
                _ = &mut client => break,
            }
        }
        let client_ended = client.is_finished();
        tracing::info!("gateway_stopping");
        watcher.abort();
        hangup.abort();
        stop.send_replace(true);
        let drained = async {
            let _ = reloader.await;
            // Every call has its answer by now; let the fronts send it.
            finish.cancel();
            if !client_ended && !over_http {
                let _ = tokio::time::timeout(LAST_WORDS, client).await;
            }
            fronts.close();
            fronts.wait().await;
            state.sessions.close_all();
            registry.ground.tasks.close();
            registry.ground.tasks.wait().await;
        };
        tokio::select! {
            () = drained => tracing::info!("gateway_stopped"),
            () = tokio::time::sleep(STOP_LIMIT) => tracing::warn!(limit_s = STOP_LIMIT.as_secs(), "gateway_stop_forced"),
            () = second_stop(&mut signals) => tracing::warn!("second stop signal: leaving at once; the shims finish the providers"),
        }
        informer.abort();
        Ok(())
    }
}

/// One reload at a time for however many SIGHUPs; one that comes during a run is answered by a run of its own.
async fn reload_at(hangups: Arc<Notify>, reload: ReloadHandle) {
    loop {
        hangups.notified().await;
        // Success or failure: the reloader has told everybody.
        let _ = reload.reload(Trigger::Sighup, ReloadOptions::default()).await;
    }
}

/// Serves the one stdio client; never ends when there is none.
async fn stdio_client(gateway: Arc<Gateway>, sessions: Arc<Sessions>, wanted: bool, finish: CancellationToken) {
    if !wanted {
        return std::future::pending().await;
    }
    let news = *gateway.registry.ground.catalogue_news.borrow();
    match stdio::wire() {
        Ok((input, output)) => {
            let session = Session::new(news);
            sessions.keep(session.clone());
            let wire = Wire { input, output, gone: stdio::gone() };
            server::stdio::serve(gateway, session, wire, finish).await;
        }
        Err(error) => tracing::error!(%error, "stdin or stdout cannot be used"),
    }
}

async fn second_stop(signals: &mut mpsc::Receiver<Sent>) {
    loop {
        match signals.recv().await {
            Some(Sent { signal: Signal::Stop, .. }) => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

async fn bind(config: &Config, options: &ServeOptions) -> Result<TcpListener, ServeError> {
    let host = options.host.as_deref().unwrap_or(&config.server.host);
    let port = options.port.unwrap_or(config.server.port);
    let address = format!("{host}:{port}");
    let bind_error = |error| ServeError::Bind { address: address.clone(), error };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, port)).await.map_err(bind_error)?.collect();
    if !options.insecure_no_auth && addresses.iter().any(|address| !address.ip().is_loopback()) {
        let why = format!(
            "{address} can be reached from other machines, and this version of hangar asks nobody who they are; bind to \
             127.0.0.1, or say --insecure-no-auth if the network itself is guarded"
        );
        return Err(ServeError::Refused(why));
    }
    TcpListener::bind(&addresses[..]).await.map_err(bind_error)
}

/// Where the command line reaches this gateway. Without one the gateway works, and says so.
fn admin_socket(config: &Path) -> Option<(UnixListener, PathBuf)> {
    let open = || -> io::Result<(UnixListener, PathBuf)> {
        // A gateway that was killed leaves its socket; nobody listens there any more.
        for left in runtime_dir::sockets_of(config) {
            let refused = std::os::unix::net::UnixStream::connect(&left);
            if refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                let _ = std::fs::remove_file(&left);
            }
        }
        let path = runtime_dir::socket_path(config, std::process::id())?;
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok((listener, path))
    };
    open().inspect_err(|error| tracing::warn!(%error, "no_admin_socket")).ok()
}

struct RemovedOnDrop(PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        // Gone already: as wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl ServeError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NoConfig(_) | Self::Config(_) => exit::CONFIG_INVALID,
            Self::Refused(_) | Self::Bind { .. } => exit::REFUSED,
            Self::Io(_) => exit::INTERNAL,
        }
    }
}

fn boot_text(error: &ReloadError) -> String {
    let problems: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
    format!("the configuration is not valid; nothing was started\n{}", problems.join("\n"))
}
