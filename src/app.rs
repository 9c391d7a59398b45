//! From settings to a running gateway to a drained one.

mod daemon;
mod dotenv;
mod ending;
mod handover;
mod listeners;
mod lives;
mod loaded;
mod pid_files;
mod reaper;
mod restart;
mod running;
mod service_manager;
pub mod signals;
mod stale;
pub mod state_dir;
mod stdio;
mod sweep;

pub use daemon::StartFailure;
pub use state_dir::StateDir;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, sync::watch, task::JoinHandle};

use self::{
    daemon::NoDoor,
    handover::Handover,
    listeners::AdminSocket,
    lives::Life,
    pid_files::PidFiles,
    running::{Running, Verdict},
};
use crate::{
    config::{self, Config, Dotenv, LogFormat, LogLevel, Problem},
    control::Control,
    provider::{CatalogueMemory, Ground, TaskIds},
    registry::Registry,
    reload::{DotenvReport, ReloadError, ReloadHandle, ReloadOptions, Reloader, Trigger},
    server::{ConnectClients, Gateway, News, Sessions, http::HttpState},
    telemetry::{About, Telemetry, logs, logs::LevelHandle},
    transport::Marker,
    wire::{self, hex},
};

/// How long the last log lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// `hangar serve`.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    pub config: Option<PathBuf>,
    /// Instead of a `.env` beside the configuration or in the working directory.
    pub dotenv_path: Option<PathBuf>,
    pub http: bool,
    /// On the connect socket alone, until nobody is connected any more.
    pub daemon: bool,
    /// Instead of `server.host`, `server.port`.
    pub host: Option<String>,
    pub port: Option<u16>,
    pub log_level: Option<LogLevel>,
    pub json_logs: bool,
    /// Bind to an address that others can reach, though nobody has to prove who they are.
    pub insecure_no_auth: bool,
    /// Instead of the usual place; a stdio gateway keeps a PID file only when it is told one.
    pub pid_file: Option<PathBuf>,
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
    #[error("{0}")]
    NoDoor(NoDoor),
    #[error("cannot listen on {address}: {error}")]
    Bind { address: String, error: io::Error },
    #[error("the restart failed after the providers had been stopped: {0}")]
    Restart(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Serves until it is told to stop.
pub fn run(options: ServeOptions) -> ExitCode {
    // Before anything reads standard input, which may not be the client's yet.
    let earlier = Handover::unpack();
    let is_daemon = options.daemon;
    if is_daemon {
        daemon::detach();
    }
    let outcome = serve_in_runtime(options, earlier.unwrap_or_default()).and_then(|verdict| match verdict {
        Verdict::Stopped => Ok(()),
        // Returns only when it is not possible.
        Verdict::Restart(next) => Err(ServeError::Restart(restart::exec(*next))),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The logger may not be up yet; stderr is where operators look in any case.
            let _ = writeln!(io::stderr(), "hangar: {error}");
            if is_daemon {
                daemon::tell_failure(error.exit_code(), error.to_string());
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve_in_runtime(options: ServeOptions, earlier: Handover) -> Result<Verdict, ServeError> {
    let path = config::locate(options.config.as_deref()).map_err(ServeError::NoConfig)?;
    let path = std::path::absolute(path)?;
    // Now, for an upgrade may replace the file; the restart takes what lies at this path then.
    let executable = std::env::current_exe().ok();
    let dotenv = Dotenv::locate(options.dotenv_path.as_deref(), &path).map_err(ServeError::NoConfig)?;
    let level = init_logs(&path, &dotenv, &options);
    let runtime = Builder::new_multi_thread().enable_all().thread_name("hangar").build()?;
    let outcome = runtime.block_on(serve(path, dotenv, options, executable, earlier, level.clone()));
    // A read of a terminal's stdin cannot be called back; everything that matters is done.
    runtime.shutdown_timeout(Duration::from_millis(100));
    level.flush(LAST_LINES);
    outcome
}

/// The file's own wishes are needed before it is in force; its problems are told by the first reload.
fn init_logs(path: &Path, dotenv: &Dotenv, options: &ServeOptions) -> LevelHandle {
    let configured = config::load_with_dotenv(path, dotenv).map(|loaded| loaded.config.logging).unwrap_or_default();
    let format = if options.json_logs { LogFormat::Json } else { configured.format };
    logs::init(options.log_level, configured.level, format)
}

async fn serve(
    path: PathBuf,
    dotenv: Dotenv,
    options: ServeOptions,
    executable: Option<PathBuf>,
    mut earlier: Handover,
    level: LevelHandle,
) -> Result<Verdict, ServeError> {
    let signals = signals::receive();
    // Ahead of everything that a gateway which may not run would have to take back.
    let pid_files = PidFiles::take(&options, &path, &mut earlier)?;
    let StartedCore { registry, reload, reloader, telemetry, news, marker, stop, life: _life } =
        start_core(&path, dotenv.clone(), level);
    let booted = reload.reload(Trigger::Boot, ReloadOptions::default()).await;
    let report = booted.map_err(|error| ServeError::Config(Box::new(error)))?;
    report.warnings.iter().for_each(|warning| tracing::warn!(warning, "configuration_warning"));
    loaded::again(std::mem::take(&mut earlier.state.loaded), &reload).await;

    let http = match options.http {
        true => Some(listeners::http(&registry.snapshot().config, &options, &mut earlier).await?),
        false => None,
    };
    let admin = listeners::admin(&path, &mut earlier);
    let door = daemon::door(&path, &options, &mut earlier)?;
    let about = Arc::new(About {
        started: Instant::now(),
        start_time: jiff::Timestamp::now().to_string(),
        transport: match (options.http, options.daemon) {
            (true, _) => "http",
            (_, true) => "daemon",
            _ => "stdio",
        },
        address: http.as_ref().and_then(|http| http.listener.local_addr().ok()),
        socket: admin.as_ref().map(|AdminSocket { file, .. }| file.0.clone()),
        connect_socket: door.as_ref().map(|door| door.socket().to_owned()),
        config: path.clone(),
        dotenv,
        pid_file: pid_files.named_path(),
        parent: pid_files.parent,
        instance: marker.instance,
        generation_id: marker.generation,
        last_restart: Default::default(),
    });
    registry.set_own_tools(Control::new(registry.clone(), reload.clone(), telemetry.clone(), about.clone()));
    let sessions = Sessions::new(telemetry.clone());
    let client = resume(earlier, &sessions, &about, &reload);
    let gateway = Arc::new(Gateway {
        registry,
        sessions: sessions.clone(),
        parking: Default::default(),
        room: Default::default(),
    });
    let clients = ConnectClients::new(telemetry.clone());
    let account = telemetry.clone();
    let state = Arc::new(HttpState { gateway: gateway.clone(), sessions, clients, reload, telemetry, about });
    let running =
        Running { path, options, executable, state, gateway, stop, reloader, news, pid_files, wanted: None, client };
    let verdict = running.run(http, admin, door, signals).await;
    account.audit.flush(LAST_LINES);
    account.spans.finish(LAST_LINES);
    Ok(verdict)
}

/// Clients of an earlier life are known again; gives the one on stdio.
fn resume(
    earlier: Handover,
    sessions: &Sessions,
    about: &About,
    reload: &ReloadHandle,
) -> Option<handover::ClientRecord> {
    let state = earlier.state;
    if state.generation_id.is_empty() {
        return None;
    }
    let known =
        state.sessions.into_iter().filter_map(|(key, record)| Some((hex::decode(&key)?.try_into().ok()?, record)));
    let known: Vec<_> = known.collect();
    let sessions_resumed = known.len();
    sessions.resume(known);
    let earlier = state.generation_id;
    tracing::info!(sessions_resumed, earlier, sender_pid = state.sender_pid, "gateway_restarted");
    let dotenv = state.variables.map(|before| before.compare(&reload.variables()));
    dotenv.iter().for_each(DotenvReport::tell);
    about.tell_restart(serde_json::json!({
        "status": "success",
        "time": about.start_time,
        "from_generation_id": earlier,
        "sender_pid": state.sender_pid,
        "sender_uid": state.sender_uid,
        "dotenv": dotenv,
    }));
    state.stdio
}

struct StartedCore {
    registry: Arc<Registry>,
    reload: ReloadHandle,
    reloader: JoinHandle<()>,
    telemetry: Arc<Telemetry>,
    news: News,
    marker: Marker,
    stop: watch::Sender<bool>,
    life: Option<Life>,
}

/// Everything below the fronts, empty: the configuration comes with the first reload.
fn start_core(path: &Path, dotenv: Dotenv, level: LevelHandle) -> StartedCore {
    let state_dir = StateDir::locate();
    let marker = Marker { instance: state_dir.instance(), generation: state_dir::random_id().into() };
    let (lives, telemetry) = (state_dir.lives(), Telemetry::new());
    let life = lives.begin(&marker.generation);
    let memory = CatalogueMemory::new(state_dir.catalogues());
    let task_ids = TaskIds::kept_in(state_dir.task_key().as_deref());
    let (ground, instances, updates) = Ground::new(marker.clone(), telemetry.clone(), memory, task_ids);
    let registry = Registry::new(ground);
    let told = telemetry.clone();
    let apply = move |config: &Config| {
        level.set(config.logging.level);
        told.audit.configure(&config.audit);
        told.spans.configure(&config.telemetry.otlp);
        wire::set_max_depth(config.server.limits.json_depth);
    };
    let (stop, stopping) = watch::channel(false);
    let (reloader, reload) = Reloader::new(registry.clone(), path, dotenv, apply, stopping);
    let reloader = tokio::spawn(reloader.run());
    tokio::spawn(reaper::reap_orphans());
    // Shims and engines take their time; they must not hold up the start.
    tokio::spawn(sweep::sweep(state_dir.sweep_lock(), lives, marker.clone()));
    let news = News { updates, instances };
    StartedCore { registry, reload, reloader, telemetry, news, marker, stop, life }
}

impl ServeError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NoConfig(_) | Self::Config(_) => exit::CONFIG_INVALID,
            Self::Refused(_) | Self::Bind { .. } | Self::NoDoor(NoDoor::Taken(_)) => exit::REFUSED,
            Self::Restart(_) | Self::Io(_) | Self::NoDoor(NoDoor::Io(_)) => exit::INTERNAL,
        }
    }
}

fn boot_text(error: &ReloadError) -> String {
    let problems: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
    format!("the configuration is not valid; nothing was started\n{}", problems.join("\n"))
}
