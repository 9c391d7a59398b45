//! What the engine is asked for: one container, as closed as `spec` allows. A pure function; nothing is sent here.
//!
//! Always: no capability that was not asked for, no terminal, no log on the engine's disk (it would hold every message),
//! removed by the engine when it ends, stdin at its end when the gateway is gone.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType};
use rustix::process::{getegid, geteuid};

use super::labels;
use crate::{
    config::{ContainerUser, DockerSpec, Environment, InheritEnv, ProviderName, Volume},
    transport::Marker,
};

/// The only place that can be written to beside the volumes.
const TMP: &str = "/tmp";
const TMP_OPTIONS: &str = "rw,noexec,nosuid,nodev,mode=1777";

/// Not taken over by `inherit_env: true`: they name places and people of the gateway's own machine, or are addressed to
/// the gateway itself.
const OF_THE_HOST: &[&str] =
    &["HOME", "HOSTNAME", "LOGNAME", "NOTIFY_SOCKET", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL", "TMPDIR", "USER", "_"];
const OF_THE_HOST_PREFIXES: &[&str] = &["DOCKER_", "HANGAR_", "LD_", "LISTEN_", "WATCHDOG_", "XDG_"];

/// `parent`: the gateway's own environment.
pub(super) fn container(
    name: &ProviderName,
    spec: &DockerSpec,
    marker: &Marker,
    parent: impl Iterator<Item = (String, String)>,
) -> ContainerCreateBody {
    let filled = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let variables = environment(&spec.environment, parent);
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: filled(&spec.command),
        entrypoint: filled(&spec.entrypoint),
        env: Some(variables.into_iter().map(|(key, value)| format!("{key}={value}")).collect()),
        user: spec.user.as_ref().map(user),
        labels: Some(labels::of(name, marker).map(|(key, value)| (key.to_owned(), value)).into()),
        tty: Some(false),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(host(spec)),
        ..ContainerCreateBody::default()
    }
}

fn host(spec: &DockerSpec) -> HostConfig {
    let resources = &spec.resources;
    let memory = (resources.memory > 0).then(|| i64::try_from(resources.memory).unwrap_or(i64::MAX));
    let tmp_is_taken = spec.volumes.iter().any(|volume| volume.container == Path::new(TMP));
    let tmpfs = (spec.read_only && !tmp_is_taken && spec.tmpfs > 0)
        .then(|| HashMap::from([(TMP.to_owned(), format!("{TMP_OPTIONS},size={}", spec.tmpfs))]));
    HostConfig {
        auto_remove: Some(true),
        init: Some(spec.init),
        log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
        network_mode: Some(spec.network.clone()),
        readonly_rootfs: Some(spec.read_only),
        tmpfs,
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: (!spec.cap_add.is_empty()).then(|| spec.cap_add.clone()),
        security_opt: spec.no_new_privileges.then(|| vec!["no-new-privileges".into()]),
        memory,
        // Equal: no swap on top.
        memory_swap: memory,
        nano_cpus: (resources.cpu > 0.0).then(|| nano(resources.cpu)),
        pids_limit: (resources.pids > 0).then(|| resources.pids.into()),
        mounts: Some(spec.volumes.iter().map(mount).collect()),
        ..HostConfig::default()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "0.01 to 4096, checked by the configuration")]
fn nano(cpu: f64) -> i64 {
    (cpu * 1e9).round() as i64
}

/// A mount and not a "bind": a host path that does not exist is an error then, and not a new directory of root's.
fn mount(volume: &Volume) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(volume.host.display().to_string()),
        target: Some(volume.container.display().to_string()),
        read_only: Some(volume.read_only),
        ..Mount::default()
    }
}

fn user(user: &ContainerUser) -> String {
    match user {
        ContainerUser::Current => format!("{}:{}", geteuid().as_raw(), getegid().as_raw()),
        ContainerUser::Named(name) => name.clone(),
    }
}

/// Sorted. A container has its image's own PATH, HOME and so on: nothing is inherited that was not asked for.
fn environment(spec: &Environment, parent: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let of_the_host = |key: &str| OF_THE_HOST.contains(&key) || OF_THE_HOST_PREFIXES.iter().any(|p| key.starts_with(p));
    let added = spec.from_dotenv.iter().map(|(key, secret)| (key.clone(), secret.expose().to_owned()));
    let mut variables: BTreeMap<_, _> = added
        .chain(parent)
        .filter(|(key, _)| match &spec.inherit {
            InheritEnv::AllowListOnly => false,
            InheritEnv::Names(names) => names.contains(key),
            InheritEnv::All => !of_the_host(key),
        })
        .collect();
    let files = spec.env_files.iter().flat_map(|file| &file.vars);
    variables.extend(files.chain(&spec.env).map(|(key, secret)| (key.clone(), secret.expose().to_owned())));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ArgsAt, Pull, Resources, Secret};

    fn spec() -> DockerSpec {
        DockerSpec {
            image: "search:v2".into(),
            command: Vec::new(),
            args_at: ArgsAt::default(),
            entrypoint: Vec::new(),
            environment: Environment::default(),
            volumes: Vec::new(),
            network: "none".into(),
            user: None,
            read_only: true,
            tmpfs: DockerSpec::TMPFS,
            cap_add: Vec::new(),
            no_new_privileges: true,
            init: true,
            resources: Resources { memory: 512 << 20, cpu: 0.5, pids: 128 },
            pull: Pull::Missing,
        }
    }

    fn body(spec: &DockerSpec) -> ContainerCreateBody {
        let marker = Marker { instance: "i".into(), generation: "g".into() };
        let parent = [("PATH", "/bin"), ("TOKEN", "t"), ("HANGAR_X", "x"), ("LANG", "C")];
        let parent = parent.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        container(&ProviderName::new("search").unwrap(), spec, &marker, parent)
    }

    #[test]
    fn without_a_word_in_the_file_the_container_is_closed() {
        let body = body(&spec());
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!((host.readonly_rootfs, host.auto_remove, host.init), (Some(true), Some(true), Some(true)));
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!((host.memory, host.memory_swap), (Some(512 << 20), Some(512 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(500_000_000), Some(128)));
        assert_eq!(host.tmpfs.unwrap()["/tmp"], "rw,noexec,nosuid,nodev,mode=1777,size=67108864");
        assert_eq!((host.cap_add, host.security_opt.unwrap().len()), (None, 1));
        assert_eq!((body.env.unwrap(), body.user, body.cmd, body.entrypoint), (Vec::new(), None, None, None));
        assert_eq!((body.stdin_once, body.tty), (Some(true), Some(false)));
    }

    #[test]
    fn what_was_relaxed_is_asked_for_and_nothing_else() {
        let spec = DockerSpec {
            tmpfs: 0,
            cap_add: vec!["NET_ADMIN".into()],
            no_new_privileges: false,
            init: false,
            resources: Resources { memory: 0, cpu: 0.0, pids: 0 },
            ..spec()
        };
        let host = body(&spec).host_config.unwrap();
        assert_eq!((host.tmpfs, host.cap_add.unwrap()), (None, vec!["NET_ADMIN".to_owned()]));
        assert_eq!((host.security_opt, host.init, host.cap_drop.unwrap()), (None, Some(false), vec!["ALL".to_owned()]));
        assert_eq!((host.memory, host.memory_swap, host.nano_cpus, host.pids_limit), (None, None, None, None));
    }

    #[test]
    fn a_volume_on_tmp_replaces_the_one_of_the_house() {
        let volume = Volume { host: "/data".into(), container: "/tmp".into(), read_only: true };
        let host = body(&DockerSpec { volumes: vec![volume], ..spec() }).host_config.unwrap();
        assert_eq!(host.tmpfs, None);
        assert_eq!(host.mounts.unwrap()[0].read_only, Some(true));
    }

    #[test]
    fn only_what_was_asked_for_is_inherited_and_never_what_belongs_to_the_host() {
        let with = |inherit| {
            let env = [("A".to_owned(), Secret::new("1"))].into();
            let from_dotenv = [("TOKEN", "later"), ("FILE", "f"), ("HOME", "h")];
            let from_dotenv = from_dotenv.map(|(key, value)| (key.to_owned(), Secret::new(value))).into();
            let environment = Environment { env, inherit, from_dotenv, ..Environment::default() };
            body(&DockerSpec { environment, ..spec() }).env.unwrap().join(" ")
        };
        assert_eq!(with(InheritEnv::AllowListOnly), "A=1");
        assert_eq!(with(InheritEnv::Names(["TOKEN".to_owned(), "FILE".to_owned()].into())), "A=1 FILE=f TOKEN=t");
        assert_eq!(with(InheritEnv::All), "A=1 FILE=f LANG=C TOKEN=t");
    }
}
