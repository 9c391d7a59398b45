//! From typed fields to the normal form: defaults filled in, `args` joined, paths absolute, referenced files read. What
//! only looks at one value is checked in `validate.rs` on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ArgsAt, Auth, CleanupSettings, Config, ContainerUser, DaemonSettings, DockerSpec, EnvFile, Environment, InheritEnv,
    Launch, LogFormat, LogLevel, LoggingSettings, PemFile, Protocol, ProviderName, ProviderSpec, Pull, ReloadSettings,
    RemoteSpec, RemoteTransport, Resources, Secret, ServerSettings, Sharing, StopTimes, SubprocessSpec, Tls,
    ToolFilter, ToolPrefix, Volume, audit, catalog, codes, discovery, dotenv, expose,
    fields::{Fields, Item, Text, Value},
    files::absolute,
    groups, limits,
    load::{Load, home_help},
    raw::At,
    telemetry,
    validate::{self, Commands},
    volumes,
};

/// Builds the normal form. With problems reported on the way the result is only fit for finding more of them.
pub(super) fn config(load: &mut Load<'_>, file: &Fields) -> Config {
    let none = Fields::default();
    let mut commands = Commands::default();
    let providers = providers(load, file, &mut commands);
    let catalog = catalog::catalog(load, file, &mut commands);
    Config {
        providers,
        catalog,
        groups: groups::groups(load, file),
        discovery: discovery::settings(load, file.section("discovery").unwrap_or(&none)),
        reload: reload(file.section("config_reload").unwrap_or(&none)),
        server: {
            let mark = load.enter("server");
            let server = server(load, file.section("server").unwrap_or(&none));
            load.leave(mark);
            server
        },
        logging: logging(file.section("logging").unwrap_or(&none)),
        telemetry: telemetry::settings(load, file.section("telemetry").unwrap_or(&none)),
        audit: audit::settings(load, file.section("audit").unwrap_or(&none)),
        cleanup: cleanup(file.section("cleanup").unwrap_or(&none)),
        daemon: daemon(file.section("daemon").unwrap_or(&none)),
    }
}

fn providers(load: &mut Load<'_>, file: &Fields, commands: &mut Commands) -> BTreeMap<ProviderName, Arc<ProviderSpec>> {
    let mut out = BTreeMap::new();
    let outer = load.enter(file.spelled("providers"));
    for (name, at, item) in file.map("providers") {
        let (Value::Fields(fields), Some(name)) = (&item.value, ProviderName::new(name)) else { continue };
        let mark = load.enter(name.as_str());
        if let Some(spec) = provider(load, fields, commands) {
            out.insert(name.clone(), Arc::new(spec));
        }
        if let Some(shorter) = name.as_str().strip_suffix('_')
            && let Some((_, other, _)) = file.map("providers").iter().find(|(other, ..)| other == shorter)
        {
            // `a_` + `__` + `b` and `a` + `__` + `_b` are one name.
            let message = format!("its tools could bear the same names as those of `{shorter}` (line {})", other.line);
            load.problem(codes::PROVIDER_CLASH, Some(*at), message, Some("leave out the `_` at the end".to_owned()));
        }
        load.leave(mark);
    }
    if !out.values().any(|spec| spec.enabled) {
        let message = if out.is_empty() { "there is no provider" } else { "every provider is disabled" };
        load.warn("", codes::NO_PROVIDERS, file.get("providers").map(|item| item.at), message, None);
    }
    load.leave(outer);
    out
}

/// `None`: reported.
pub(super) fn provider(load: &mut Load<'_>, fields: &Fields, commands: &mut Commands) -> Option<ProviderSpec> {
    let enabled = fields.flag("enabled").unwrap_or(true);
    let launch = match fields.word("mode").unwrap_or("subprocess") {
        "docker" => Launch::Docker(docker(load, fields, enabled)),
        "remote" => Launch::Remote(remote(load, fields, enabled)?),
        _ => Launch::Subprocess(subprocess(load, fields, enabled, commands)?),
    };
    let seconds = |name: &str, default: u64| fields.seconds(name).unwrap_or(std::time::Duration::from_secs(default));
    let count = |name: &str, default: u32| fields.whole(name).map_or(default, narrow);
    Some(ProviderSpec {
        launch,
        description: fields.text("description").map(|(text, _)| text.text.clone()).filter(|text| !text.is_empty()),
        idle_ttl: seconds("idle_ttl_s", 300),
        health_check_interval: seconds("health_check_interval_s", 60),
        max_consecutive_failures: count("max_consecutive_failures", 3),
        max_concurrency: Some(count("max_concurrency", 10)).filter(|most| *most > 0),
        max_queued: count("max_queued", 1024),
        max_message: count("max_message_bytes", 16 << 20) as usize,
        max_answer: fields.whole("max_answer_bytes").filter(|most| *most > 0).map(|most| most as usize),
        startup_timeout: seconds("startup_timeout_s", 30),
        call_timeout: seconds("call_timeout_s", 60),
        max_call_time: seconds("max_call_time_s", 600),
        drain_timeout: seconds("drain_timeout_s", 30),
        stop: stop_times(load, fields),
        protocol: spoken(load, fields),
        sharing: if fields.word("sharing") == Some("session") { Sharing::Session } else { Sharing::Shared },
        max_instances: count("max_instances", 64),
        tools: tools(load, fields),
        enabled,
    })
}

fn subprocess(load: &mut Load<'_>, fields: &Fields, machine: bool, commands: &mut Commands) -> Option<SubprocessSpec> {
    let environment = environment(load, fields, machine);
    let cwd = match fields.text("cwd") {
        Some((text, at)) => {
            let path = absolute(&load.dir, &text.text);
            if machine {
                commands.cwd(load, &path, &text.text, at);
            }
            path
        }
        None => load.dir.clone(),
    };
    let (mut argv, args_at) = command_line(fields);
    let (program, at) = fields.list("command").first().and_then(Item::text)?;
    if machine {
        commands.check(load, program, at, &cwd, &environment);
    }
    if let Some(first) = argv.first_mut().filter(|first| first.contains('/') && !first.starts_with('/')) {
        *first = absolute(&cwd, &*first).to_string_lossy().into_owned();
    }
    Some(SubprocessSpec { argv, args_at, cwd, environment })
}

/// `command` followed by `args`.
fn command_line(fields: &Fields) -> (Vec<String>, ArgsAt) {
    let mut argv = texts(fields.list("command"));
    let args_at = ArgsAt(argv.len());
    argv.extend(texts(fields.list("args")));
    (argv, args_at)
}

fn environment(load: &mut Load<'_>, fields: &Fields, machine: bool) -> Environment {
    let mark = load.enter("env_file");
    let mut env_files = Vec::new();
    for (index, item) in fields.list("env_file").iter().enumerate() {
        let inner = load.enter_item(index);
        if let Some((text, at)) = item.text() {
            env_files.push(env_file(load, &text.text, at, machine));
        }
        load.leave(inner);
    }
    load.leave(mark);
    let inherit = match fields.get("inherit_env").map(|item| &item.value) {
        Some(Value::Flag(true)) => InheritEnv::All,
        Some(Value::List(items)) if !items.is_empty() => {
            InheritEnv::Names(texts(items).into_iter().collect::<BTreeSet<_>>())
        }
        _ => InheritEnv::AllowListOnly,
    };
    let env = fields.map("env").iter().filter_map(|(name, _, item)| Some((name.clone(), secret(item.text()?.0))));
    let env = env.collect();
    Environment { env, env_files, from_dotenv: load.inherited(&inherit), inherit }
}

fn env_file(load: &mut Load<'_>, typed: &str, at: At, machine: bool) -> EnvFile {
    let path = absolute(&load.dir, typed);
    let vars = match load.files.text(&path) {
        Ok(text) => {
            let (vars, faults) = dotenv::parse(&text);
            for fault in faults {
                let at = At { line: fault.line, column: fault.column };
                load.problem_in(&path, codes::ENV_FILE_LINE, at, fault.message.to_owned());
            }
            vars.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
        }
        Err(why) => {
            if machine {
                load.problem(codes::ENV_FILE, Some(at), format!("the env file {}", why.phrase()), home_help(typed));
            }
            BTreeMap::new()
        }
    };
    EnvFile { path, vars }
}

fn docker(load: &mut Load<'_>, fields: &Fields, machine: bool) -> DockerSpec {
    let (command, args_at) = command_line(fields);
    let none = Fields::default();
    let resources = fields.section("resources").unwrap_or(&none);
    let limits = Resources::default();
    let text = |name: &str| fields.text(name).map(|(text, _)| text.text.clone());
    DockerSpec {
        image: text("image").unwrap_or_default(),
        command,
        args_at,
        entrypoint: texts(fields.list("entrypoint")),
        environment: environment(load, fields, machine),
        volumes: mounts(load, fields, machine),
        network: text("network").unwrap_or_else(|| "none".to_owned()),
        user: text("user")
            .map(|user| if user == "current" { ContainerUser::Current } else { ContainerUser::Named(user) }),
        read_only: fields.flag("read_only").unwrap_or(true),
        tmpfs: fields.whole("tmpfs").unwrap_or(DockerSpec::TMPFS),
        cap_add: capabilities(texts(fields.list("cap_add"))),
        no_new_privileges: fields.flag("no_new_privileges").unwrap_or(true),
        init: fields.flag("init").unwrap_or(true),
        resources: Resources {
            memory: resources.whole("memory").unwrap_or(limits.memory),
            cpu: resources.decimal("cpu").unwrap_or(limits.cpu),
            pids: resources.whole("pids").map_or(limits.pids, narrow),
        },
        pull: match fields.word("pull") {
            Some("always") => Pull::Always,
            Some("never") => Pull::Never,
            _ => Pull::Missing,
        },
    }
}

fn mounts(load: &mut Load<'_>, fields: &Fields, machine: bool) -> Vec<Volume> {
    let mark = load.enter("volumes");
    let mut out: Vec<Volume> = Vec::new();
    for (index, item) in fields.list("volumes").iter().enumerate() {
        let Some((text, at)) = item.text() else { continue };
        let inner = load.enter_item(index);
        let mut parts = text.text.split(':');
        let (host, container) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let volume = Volume {
            host: absolute(&load.dir, host),
            container: absolute(Path::new("/"), container),
            read_only: parts.next() == Some("ro"),
        };
        volumes::check(load, &volume, &out, at, machine);
        out.push(volume);
        load.leave(inner);
    }
    load.leave(mark);
    out
}

fn remote(load: &mut Load<'_>, fields: &Fields, machine: bool) -> Option<RemoteSpec> {
    let auth = auth(fields);
    let headers = validate::headers(load, fields, &auth);
    let tls = tls(load, fields, machine);
    let (endpoint, at) = fields.text("endpoint")?;
    let mark = load.enter("endpoint");
    let secretive = auth != Auth::None || headers.contains_key("authorization");
    let endpoint = validate::endpoint(load, endpoint, at, secretive);
    load.leave(mark);
    Some(RemoteSpec {
        endpoint: endpoint?,
        transport: match fields.word("transport") {
            Some("sse") => RemoteTransport::Sse,
            _ => RemoteTransport::StreamableHttp,
        },
        headers,
        auth,
        tls,
    })
}

fn auth(fields: &Fields) -> Auth {
    let Some(auth) = fields.section("auth") else { return Auth::None };
    let hidden = |name: &str| auth.text(name).map_or_else(|| Secret::new(""), |(text, _)| secret(text));
    let open = |name: &str| auth.text(name).map(|(text, _)| text.text.clone()).unwrap_or_default();
    match auth.word("type") {
        Some("bearer") => Auth::Bearer { token: hidden("token") },
        Some("basic") => Auth::Basic { username: open("username"), password: hidden("password") },
        Some("api_key") => Auth::ApiKey { header: open("header").to_ascii_lowercase(), key: hidden("key") },
        _ => Auth::None,
    }
}

fn tls(load: &mut Load<'_>, fields: &Fields, machine: bool) -> Tls {
    let Some(tls) = fields.section("tls") else { return Tls::default() };
    let mark = load.enter("tls");
    let verify = tls.flag("verify").unwrap_or(true);
    if !verify && machine {
        let at = tls.get("verify").map(|item| item.at);
        load.warn("verify", codes::TLS_OFF, at, "the server's certificate is not verified", None);
    }
    let out = Tls {
        verify,
        ca: pem(load, tls, "ca_file", "CERTIFICATE-----", machine),
        client_cert: pem(load, tls, "client_cert", "CERTIFICATE-----", machine),
        client_key: pem(load, tls, "client_key", "PRIVATE KEY-----", machine),
    };
    for (have, lacks) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if let (Some(item), None) = (tls.get(have), tls.get(lacks)) {
            load.problem_of(have, codes::TLS_FILE, item.at, format!("`{have}` needs `{lacks}` beside it"), None);
        }
    }
    load.leave(mark);
    out
}

fn pem(load: &mut Load<'_>, tls: &Fields, key: &str, marker: &str, machine: bool) -> Option<PemFile> {
    let (text, at) = tls.text(key)?;
    let path = absolute(&load.dir, &text.text);
    let pem = match load.files.text(&path) {
        Ok(pem) => {
            if machine && !pem.contains(marker) {
                let message = format!("the file holds no PEM block that ends in `{}`", marker.trim_end_matches('-'));
                load.problem_of(key, codes::TLS_FILE, at, message, None);
            }
            pem
        }
        Err(why) => {
            if machine {
                load.problem_of(key, codes::TLS_FILE, at, format!("the file {}", why.phrase()), home_help(&text.text));
            }
            String::new()
        }
    };
    Some(PemFile { path, pem: Secret::new(pem) })
}

fn stop_times(load: &mut Load<'_>, fields: &Fields) -> StopTimes {
    let Some(stop) = fields.section("stop") else { return StopTimes::default() };
    let default = StopTimes::default();
    let times = StopTimes {
        grace: stop.seconds("grace_s").unwrap_or(default.grace),
        term: stop.seconds("term_s").unwrap_or(default.term),
    };
    if times.grace + times.term > validate::LONGEST_STOP {
        let message = "`grace_s` and `term_s` together must be at most 40: the whole gateway stops within 45 seconds";
        load.problem_of("stop", codes::STOP_TIMES, stop.at, message, None);
    }
    times
}

/// What a provider is spoken to in.
fn spoken(load: &mut Load<'_>, fields: &Fields) -> Protocol {
    let protocol = protocol(fields);
    if let (Protocol::Modern, Some("sse"), Some(item)) = (protocol, fields.word("transport"), fields.get("protocol")) {
        let message = "HTTP+SSE (`transport: sse`) is older than this revision and does not have it";
        let help = "leave out `transport`, or `protocol`".to_owned();
        load.problem_of("protocol", codes::PROTOCOL, item.at, message, Some(help));
    }
    protocol
}

fn protocol(fields: &Fields) -> Protocol {
    match fields.word("protocol") {
        Some("legacy") => Protocol::Legacy,
        Some("2026-07-28") => Protocol::Modern,
        _ => Protocol::Auto,
    }
}

fn tools(load: &mut Load<'_>, fields: &Fields) -> ToolFilter {
    let Some(tools) = fields.section("tools") else { return ToolFilter::default() };
    let mark = load.enter("tools");
    let mut out = ToolFilter::default();
    if tools.get("allow").is_some() {
        out.allow = validate::globs(load, tools, "allow");
    }
    out.deny = validate::globs(load, tools, "deny");
    load.leave(mark);
    out
}

fn reload(fields: &Fields) -> ReloadSettings {
    let default = ReloadSettings::default();
    ReloadSettings {
        enabled: fields.flag("enabled").unwrap_or(default.enabled),
        use_watchdog: fields.flag("use_watchdog").unwrap_or(default.use_watchdog),
        interval: fields.seconds("interval_s").unwrap_or(default.interval),
    }
}

fn server(load: &mut Load<'_>, fields: &Fields) -> ServerSettings {
    let default = ServerSettings::default();
    let control_tools = match fields.get("control_tools") {
        Some(_) => validate::globs(load, fields, "control_tools"),
        None => default.control_tools,
    };
    ServerSettings {
        host: validate::host(load, fields).unwrap_or(default.host),
        port: fields.whole("port").and_then(|port| u16::try_from(port).ok()).unwrap_or(default.port),
        tool_prefix: match fields.word("tool_prefix") {
            Some("never") => ToolPrefix::Never,
            _ => ToolPrefix::Always,
        },
        expose: expose::settings(load, fields),
        protocol: protocol(fields),
        allowed_hosts: sorted(texts(fields.list("allowed_hosts"))),
        allowed_origins: sorted(texts(fields.list("allowed_origins"))),
        control_tools,
        session_idle: fields.seconds("session_idle_s").unwrap_or(default.session_idle),
        list_timeout: fields.seconds("list_timeout_s").unwrap_or(default.list_timeout),
        progress_keep_alive: fields.seconds("progress_keep_alive_s").unwrap_or(default.progress_keep_alive),
        limits: limits::read(fields.section("limits")),
    }
}

fn logging(fields: &Fields) -> LoggingSettings {
    LoggingSettings {
        level: match fields.word("level") {
            Some("error") => LogLevel::Error,
            Some("warn") => LogLevel::Warn,
            Some("debug") => LogLevel::Debug,
            Some("trace") => LogLevel::Trace,
            _ => LogLevel::Info,
        },
        format: if fields.word("format") == Some("json") { LogFormat::Json } else { LogFormat::Text },
    }
}

fn cleanup(fields: &Fields) -> CleanupSettings {
    let default = CleanupSettings::default();
    CleanupSettings { max_instances: fields.whole("max_instances").map_or(default.max_instances, narrow) }
}

fn daemon(fields: &Fields) -> DaemonSettings {
    let default = DaemonSettings::default();
    DaemonSettings { idle_exit: fields.seconds("idle_exit_s").unwrap_or(default.idle_exit) }
}

fn texts(items: &[Item]) -> Vec<String> {
    items.iter().filter_map(|item| Some(item.text()?.0.text.clone())).collect()
}

fn capabilities(mut list: Vec<String>) -> Vec<String> {
    list.iter_mut().for_each(|name| *name = name.strip_prefix("CAP_").unwrap_or(name).to_owned());
    list.sort();
    list.dedup();
    list
}

/// For lists whose order means nothing.
fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.iter_mut().for_each(|item| item.make_ascii_lowercase());
    list.sort();
    list.dedup();
    list
}

fn secret(text: &Text) -> Secret {
    Secret::new(text.text.as_str())
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The PATH that a child of this provider will see.
pub(super) fn path_of_child(load: &Load<'_>, environment: &Environment) -> String {
    if let Some(path) = environment.env.get("PATH") {
        return path.expose().to_owned();
    }
    if let Some(path) = environment.env_files.iter().rev().find_map(|file| file.vars.get("PATH")) {
        return path.expose().to_owned();
    }
    let inherited = || environment.from_dotenv.get("PATH").map(|path| path.expose().to_owned());
    let own = load.variable_of_gateway("PATH").map(|path| path.to_string_lossy().into_owned());
    own.or_else(inherited).unwrap_or_default()
}

/// The program as a file, when it is named by path.
pub(super) fn program_path(cwd: &Path, program: &str) -> Option<PathBuf> {
    program.contains('/').then(|| absolute(cwd, program))
}
