//! What differs between two configurations, by the names the file uses. Every comparison takes the structs apart without
//! `..`, so a new field breaks the build until it is compared here.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use super::{
    CleanupSettings, Config, ConfigDiff, DaemonSettings, DockerSpec, EnvFile, Environment, Launch, LoggingSettings,
    ProviderName, ProviderSpec, ReloadSettings, RemoteSpec, ServerSettings, SubprocessSpec, audit, groups,
    telemetry as traces,
};

/// Pure. `diff(a, a)` has only `unchanged`.
pub fn diff(old: &Config, new: &Config) -> ConfigDiff {
    let mut out = ConfigDiff::default();
    let Config { providers, catalog, groups, discovery, reload, server, logging, audit, telemetry, cleanup, daemon } =
        old;
    providers_diff(providers, &new.providers, &mut out);
    if *catalog != new.catalog {
        out.settings.push("catalog");
    }
    if *discovery != new.discovery {
        out.settings.push("discovery");
    }
    groups::diff(groups, &new.groups, &mut out);
    reload_diff(reload, &new.reload, &mut out);
    server_diff(server, &new.server, &mut out);
    logging_diff(logging, &new.logging, &mut out);
    audit::diff(audit, &new.audit, &mut out);
    traces::diff(telemetry, &new.telemetry, &mut out);
    cleanup_diff(cleanup, &new.cleanup, &mut out);
    daemon_diff(daemon, &new.daemon, &mut out);
    out
}

type Providers = BTreeMap<ProviderName, Arc<ProviderSpec>>;

/// Walks both sorted maps side by side.
pub fn providers_diff(old: &Providers, new: &Providers, out: &mut ConfigDiff) {
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let before = if order.is_le() { olds.next() } else { None };
        let after = if order.is_ge() { news.next() } else { None };
        match (before, after) {
            (Some((name, _)), None) => out.removed.push(name.clone()),
            (None, Some((name, _))) => out.added.push(name.clone()),
            (Some((name, a)), Some((_, b))) if Arc::ptr_eq(a, b) || a == b => out.unchanged.push(name.clone()),
            (Some((name, a)), Some((_, b))) => out.updated.push((name.clone(), changed_fields(a, b))),
            (None, None) => return,
        }
    }
}

/// Collects the names of fields that differ.
struct Names(Vec<&'static str>);

impl Names {
    fn field<T: PartialEq + ?Sized>(&mut self, name: &'static str, old: &T, new: &T) {
        if old != new {
            self.0.push(name);
        }
    }
}

/// The top-level keys of a provider that differ, sorted. Empty exactly when the two are equal.
fn changed_fields(old: &ProviderSpec, new: &ProviderSpec) -> Vec<&'static str> {
    let ProviderSpec {
        launch,
        description,
        idle_ttl,
        health_check_interval,
        max_consecutive_failures,
        max_concurrency,
        max_queued,
        max_message,
        max_answer,
        startup_timeout,
        call_timeout,
        max_call_time,
        drain_timeout,
        stop,
        protocol,
        sharing,
        max_instances,
        tools,
        enabled,
    } = old;
    let mut names = Names(Vec::new());
    launch_diff(launch, &new.launch, &mut names);
    names.field("description", description, &new.description);
    names.field("idle_ttl_s", idle_ttl, &new.idle_ttl);
    names.field("health_check_interval_s", health_check_interval, &new.health_check_interval);
    names.field("max_consecutive_failures", max_consecutive_failures, &new.max_consecutive_failures);
    names.field("max_concurrency", max_concurrency, &new.max_concurrency);
    names.field("max_queued", max_queued, &new.max_queued);
    names.field("max_message_bytes", max_message, &new.max_message);
    names.field("max_answer_bytes", max_answer, &new.max_answer);
    names.field("startup_timeout_s", startup_timeout, &new.startup_timeout);
    names.field("call_timeout_s", call_timeout, &new.call_timeout);
    names.field("max_call_time_s", max_call_time, &new.max_call_time);
    names.field("drain_timeout_s", drain_timeout, &new.drain_timeout);
    names.field("stop", stop, &new.stop);
    names.field("protocol", protocol, &new.protocol);
    names.field("sharing", sharing, &new.sharing);
    names.field("max_instances", max_instances, &new.max_instances);
    names.field("tools", tools, &new.tools);
    names.field("enabled", enabled, &new.enabled);
    names.0.sort_unstable();
    names.0.dedup();
    names.0
}

fn launch_diff(old: &Launch, new: &Launch, names: &mut Names) {
    match (old, new) {
        (Launch::Subprocess(old), Launch::Subprocess(new)) => subprocess_diff(old, new, names),
        (Launch::Docker(old), Launch::Docker(new)) => docker_diff(old, new, names),
        (Launch::Remote(old), Launch::Remote(new)) => remote_diff(old, new, names),
        (Launch::Subprocess(_) | Launch::Docker(_) | Launch::Remote(_), _) => names.0.push("mode"),
    }
}

fn subprocess_diff(old: &SubprocessSpec, new: &SubprocessSpec, names: &mut Names) {
    let SubprocessSpec { argv, args_at, cwd, environment } = old;
    command_diff(argv.split_at_checked(args_at.0), new.argv.split_at_checked(new.args_at.0), names);
    names.field("cwd", cwd, &new.cwd);
    environment_diff(environment, &new.environment, names);
}

type Split<'s> = Option<(&'s [String], &'s [String])>;

/// Where a word only moved between `command` and `args`, nothing changed.
fn command_diff(old: Split<'_>, new: Split<'_>, names: &mut Names) {
    let (Some((old, old_args)), Some((new, new_args))) = (old, new) else { return names.0.push("command") };
    if !old.iter().chain(old_args).eq(new.iter().chain(new_args)) {
        names.field("command", old, new);
        names.field("args", old_args, new_args);
    }
}

fn docker_diff(old: &DockerSpec, new: &DockerSpec, names: &mut Names) {
    let DockerSpec {
        image,
        command,
        args_at,
        entrypoint,
        environment,
        volumes,
        network,
        user,
        read_only,
        tmpfs,
        cap_add,
        no_new_privileges,
        init,
        resources,
        pull,
    } = old;
    names.field("image", image, &new.image);
    command_diff(command.split_at_checked(args_at.0), new.command.split_at_checked(new.args_at.0), names);
    names.field("entrypoint", entrypoint, &new.entrypoint);
    environment_diff(environment, &new.environment, names);
    names.field("volumes", volumes, &new.volumes);
    names.field("network", network, &new.network);
    names.field("user", user, &new.user);
    names.field("read_only", read_only, &new.read_only);
    names.field("tmpfs", tmpfs, &new.tmpfs);
    names.field("cap_add", cap_add, &new.cap_add);
    names.field("no_new_privileges", no_new_privileges, &new.no_new_privileges);
    names.field("init", init, &new.init);
    names.field("resources", resources, &new.resources);
    names.field("pull", pull, &new.pull);
}

fn remote_diff(old: &RemoteSpec, new: &RemoteSpec, names: &mut Names) {
    let RemoteSpec { endpoint, transport, headers, auth, tls } = old;
    names.field("endpoint", endpoint, &new.endpoint);
    names.field("transport", transport, &new.transport);
    names.field("headers", headers, &new.headers);
    names.field("auth", auth, &new.auth);
    names.field("tls", tls, &new.tls);
}

fn environment_diff(old: &Environment, new: &Environment, names: &mut Names) {
    let Environment { env, env_files, inherit, from_dotenv } = old;
    names.field("env", env, &new.env);
    names.field::<[EnvFile]>("env_file", env_files, &new.env_files);
    names.field("inherit_env", &(inherit, from_dotenv), &(&new.inherit, &new.from_dotenv));
}

impl ConfigDiff {
    pub(super) fn live<T: PartialEq>(&mut self, name: &'static str, old: &T, new: &T) {
        if old != new {
            self.settings.push(name);
        }
    }

    pub(super) fn restart<T: PartialEq>(&mut self, name: &'static str, old: &T, new: &T) {
        if old != new {
            self.restart_required.push(name);
        }
    }
}

fn reload_diff(old: &ReloadSettings, new: &ReloadSettings, out: &mut ConfigDiff) {
    let ReloadSettings { enabled, use_watchdog, interval } = old;
    out.live("config_reload.enabled", enabled, &new.enabled);
    out.live("config_reload.use_watchdog", use_watchdog, &new.use_watchdog);
    out.live("config_reload.interval_s", interval, &new.interval);
}

/// What the listening socket is bound to waits for a restart; everything else is looked up in the snapshot.
fn server_diff(old: &ServerSettings, new: &ServerSettings, out: &mut ConfigDiff) {
    let ServerSettings {
        host,
        port,
        tool_prefix,
        expose,
        protocol,
        allowed_hosts,
        allowed_origins,
        control_tools,
        session_idle,
        list_timeout,
        progress_keep_alive,
        limits,
    } = old;
    out.restart("server.host", host, &new.host);
    out.restart("server.port", port, &new.port);
    out.live("server.tool_prefix", tool_prefix, &new.tool_prefix);
    out.live("server.expose", &expose.others, &new.expose.others);
    out.live("server.clients", &expose.clients, &new.expose.clients);
    out.live("server.protocol", protocol, &new.protocol);
    out.live("server.allowed_hosts", allowed_hosts, &new.allowed_hosts);
    out.live("server.allowed_origins", allowed_origins, &new.allowed_origins);
    out.live("server.control_tools", control_tools, &new.control_tools);
    out.live("server.session_idle_s", session_idle, &new.session_idle);
    out.live("server.list_timeout_s", list_timeout, &new.list_timeout);
    out.live("server.progress_keep_alive_s", progress_keep_alive, &new.progress_keep_alive);
    super::limits::diff(limits, &new.limits, out);
}

fn logging_diff(old: &LoggingSettings, new: &LoggingSettings, out: &mut ConfigDiff) {
    let LoggingSettings { level, format } = old;
    out.live("logging.level", level, &new.level);
    out.restart("logging.format", format, &new.format);
}

/// Looked at when the next gateway of the file starts, and it reads the file itself.
fn cleanup_diff(old: &CleanupSettings, new: &CleanupSettings, out: &mut ConfigDiff) {
    let CleanupSettings { max_instances } = old;
    out.live("cleanup.max_instances", max_instances, &new.max_instances);
}

fn daemon_diff(old: &DaemonSettings, new: &DaemonSettings, out: &mut ConfigDiff) {
    let DaemonSettings { idle_exit } = old;
    out.live("daemon.idle_exit_s", idle_exit, &new.idle_exit);
}
