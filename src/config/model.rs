//! The normal form of a configuration: what the rest of the house sees.
//!
//! Everything here is already resolved: `${}` replaced, defaults filled in, paths absolute, env files read. Two files that
//! mean the same thing give equal values, so `PartialEq` *is* "unchanged". Built by `normalize.rs` only.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{
    AuditSettings, CleanupSettings, DaemonSettings, DiscoverySettings, ExposeSettings, GroupSpec, Limits,
    LoggingSettings, ReloadSettings, TelemetrySettings,
};

/// The whole file, normalised. Source: CONTRACT section 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Providers with `enabled: true` and those with `enabled: false`; look at [`ProviderSpec::enabled`].
    pub providers: BTreeMap<ProviderName, Arc<ProviderSpec>>,
    /// Not in service until they are loaded. No name of a provider or group is here.
    pub catalog: BTreeMap<ProviderName, Arc<ProviderSpec>>,
    pub groups: BTreeMap<ProviderName, Arc<GroupSpec>>,
    pub discovery: DiscoverySettings,
    pub reload: ReloadSettings,
    pub server: ServerSettings,
    pub logging: LoggingSettings,
    pub audit: AuditSettings,
    pub telemetry: TelemetrySettings,
    pub cleanup: CleanupSettings,
    pub daemon: DaemonSettings,
}

/// `[A-Za-z][A-Za-z0-9_-]{0,63}` without `__`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(Arc<str>);

/// Everything about one provider. A new field breaks `diff.rs` until it is compared there by name.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSpec {
    pub launch: Launch,
    pub description: Option<String>,
    /// Zero: never stopped for being idle.
    pub idle_ttl: Duration,
    /// Zero: no probe.
    pub health_check_interval: Duration,
    /// At least 1.
    pub max_consecutive_failures: u32,
    /// `None`: unlimited (spelled `0` in the file).
    pub max_concurrency: Option<u32>,
    /// Calls that may wait for one of these.
    pub max_queued: u32,
    /// Longest line, body or event taken from it, in bytes.
    pub max_message: usize,
    /// Longest result of a tool call that a client is given whole, in bytes. `None`: any.
    pub max_answer: Option<usize>,
    pub startup_timeout: Duration,
    pub call_timeout: Duration,
    /// With progress.
    pub max_call_time: Duration,
    pub drain_timeout: Duration,
    pub stop: StopTimes,
    pub protocol: Protocol,
    pub sharing: Sharing,
    /// Clients that may have an instance at the same time, with [`Sharing::Session`].
    pub max_instances: u32,
    pub tools: ToolFilter,
    pub enabled: bool,
}

/// The two waiting times of the stop ladder: close stdin, wait `grace`; SIGTERM, wait `term`; SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopTimes {
    pub grace: Duration,
    pub term: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Launch {
    Subprocess(SubprocessSpec),
    Docker(DockerSpec),
    Remote(RemoteSpec),
}

#[derive(Clone, PartialEq)]
pub struct SubprocessSpec {
    /// Program and its arguments (`command` followed by `args`); never empty. The program is as typed, or absolute when it
    /// was a relative path with a `/` in it.
    pub argv: Vec<String>,
    /// Where `args` begin in `argv`.
    pub args_at: ArgsAt,
    /// Absolute. Default: the config file's directory.
    pub cwd: PathBuf,
    pub environment: Environment,
}

/// How a command line was split between `command` and `args`. Only of use for naming what changed: the split changes
/// nothing about a provider, so any two are equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct ArgsAt(pub usize);

/// The program name that means this very binary, wherever it lies: `[hangar, demo-server, math]` works without a PATH.
pub const OWN_PROGRAM: &str = "hangar";

/// What a child process gets beside the allow-list of CONTRACT section 8.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Environment {
    /// From `env`. Wins over `env_files`.
    pub env: BTreeMap<String, Secret>,
    /// In file order; a later file wins.
    pub env_files: Vec<EnvFile>,
    pub inherit: InheritEnv,
    /// What a `.env` file adds to what is inherited: names that the gateway's own environment has not.
    pub from_dotenv: BTreeMap<String, Secret>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct EnvFile {
    pub path: PathBuf,
    pub vars: BTreeMap<String, Secret>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub enum InheritEnv {
    #[default]
    AllowListOnly,
    Names(BTreeSet<String>),
    All,
}

#[derive(Clone, PartialEq)]
pub struct DockerSpec {
    pub image: String,
    /// `command` followed by `args`; empty: the image's own.
    pub command: Vec<String>,
    /// Where `args` begin in `command`.
    pub args_at: ArgsAt,
    /// Empty: the image's own.
    pub entrypoint: Vec<String>,
    pub environment: Environment,
    pub volumes: Vec<Volume>,
    /// `none`, `bridge`, `host` or a network's name.
    pub network: String,
    pub user: Option<ContainerUser>,
    pub read_only: bool,
    /// Bytes of `/tmp` where the root file system is read-only; 0: none.
    pub tmpfs: u64,
    /// In capitals, without `CAP_`, sorted.
    pub cap_add: Vec<String>,
    pub no_new_privileges: bool,
    pub init: bool,
    pub resources: Resources,
    pub pull: Pull,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Absolute path on the host.
    pub host: PathBuf,
    /// Absolute path in the container.
    pub container: PathBuf,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ContainerUser {
    Current,
    Named(String),
}

/// 0: without a limit. The defaults are those of CONTRACT section 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// Bytes, swap included.
    pub memory: u64,
    /// Whole cores; 0.5 is half a core.
    pub cpu: f64,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory: 512 * 1024 * 1024, cpu: 1.0, pids: 128 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    Missing,
    Always,
    Never,
}

#[derive(Clone, PartialEq)]
pub struct RemoteSpec {
    /// `http://` or `https://`, without user name and password. Its query may hold a key: print
    /// [`RemoteSpec::shown_endpoint`].
    pub endpoint: String,
    pub transport: RemoteTransport,
    /// Names in lower case.
    pub headers: BTreeMap<String, Secret>,
    pub auth: Auth,
    pub tls: Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteTransport {
    StreamableHttp,
    /// The legacy HTTP+SSE pair of 2024-11-05.
    Sse,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    None,
    Bearer { token: Secret },
    Basic { username: String, password: Secret },
    ApiKey { header: String, key: Secret },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    pub verify: bool,
    /// PEM, read at load time so that a changed file is a changed provider.
    pub ca: Option<PemFile>,
    pub client_cert: Option<PemFile>,
    pub client_key: Option<PemFile>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { verify: true, ca: None, client_cert: None, client_key: None }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct PemFile {
    pub path: PathBuf,
    pub pem: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Auto,
    Legacy,
    /// 2026-07-28.
    Modern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// One instance for every client.
    #[default]
    Shared,
    /// One instance per client session.
    Session,
}

/// Globs on the upstream's own tool names; a tool passes when any `allow` matches and no `deny` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFilter {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

impl Default for ToolFilter {
    fn default() -> Self {
        Self { allow: vec!["*".into()], deny: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    pub host: String,
    pub port: u16,
    pub tool_prefix: ToolPrefix,
    pub expose: ExposeSettings,
    pub protocol: Protocol,
    /// Further values of the Host header that are accepted, `name` or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// Values of the Origin header that are accepted beside the gateway's own loopback ones.
    pub allowed_origins: Vec<String>,
    /// Globs on the names of the gateway's own tools: which are listed and callable. Default `["*"]`.
    pub control_tools: Vec<String>,
    /// How long a client session may be silent before it is forgotten.
    pub session_idle: Duration,
    /// How long one listing may wait for providers whose catalogue is not known yet.
    pub list_timeout: Duration,
    /// Zero: never.
    pub progress_keep_alive: Duration,
    pub limits: Limits,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8000,
            tool_prefix: ToolPrefix::Always,
            expose: ExposeSettings::default(),
            protocol: Protocol::Auto,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            control_tools: vec!["*".into()],
            session_idle: Duration::from_secs(3600),
            list_timeout: Duration::from_secs(10),
            progress_keep_alive: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToolPrefix {
    #[default]
    Always,
    Never,
}

/// A value that must not be seen: `Debug` shows `***`, there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

// === impl ProviderName ===

impl ProviderName {
    /// `None` when `text` is not a provider name.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let head = bytes.next()?.is_ascii_alphabetic();
        let tail = bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        (head && tail && text.len() <= 64 && !text.contains("__")).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Borrow<str> for ProviderName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for ProviderName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

// === impl Secret ===

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The value, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

// === impl ArgsAt ===

impl PartialEq for ArgsAt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

// === Debug without secrets: arguments and queries may hold them ===

impl fmt::Debug for SubprocessSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argv, args_at: _, cwd, environment } = self;
        let arguments = argv.len().saturating_sub(1);
        f.debug_struct("SubprocessSpec")
            .field("program", &argv.first())
            .field("arguments", &arguments)
            .field("cwd", cwd)
            .field("environment", environment)
            .finish()
    }
}

impl fmt::Debug for DockerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerSpec")
            .field("image", &self.image)
            .field("environment", &self.environment)
            .field("volumes", &self.volumes)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RemoteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint: _, transport, headers, auth, tls } = self;
        f.debug_struct("RemoteSpec")
            .field("endpoint", &self.shown_endpoint())
            .field("transport", transport)
            .field("headers", headers)
            .field("auth", auth)
            .field("tls", tls)
            .finish()
    }
}

impl RemoteSpec {
    /// The endpoint without its query, which may hold a key.
    pub fn shown_endpoint(&self) -> &str {
        self.endpoint.split(['?', '#']).next().unwrap_or_default()
    }
}

// === impl Launch ===

impl Launch {
    /// The word in the file: `subprocess`, `docker`, `remote`.
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Subprocess(_) => "subprocess",
            Self::Docker(_) => "docker",
            Self::Remote(_) => "remote",
        }
    }
}

// === impl StopTimes ===

impl Default for StopTimes {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10), term: Duration::from_secs(9) }
    }
}
