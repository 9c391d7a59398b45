//! Which of the safe defaults of a container its configuration has moved: for those who have to answer for it.

use rustix::process::geteuid;

use super::{ContainerUser, DockerSpec, InheritEnv, Resources, scalar::shown_memory};

impl DockerSpec {
    /// Bytes of `/tmp` when the file does not say.
    pub const TMPFS: u64 = 64 << 20;

    /// One text for each key that gives the container more than the defaults do, as in the file (`network: bridge`).
    /// Empty: it is as closed as can be.
    pub fn relaxed(&self) -> Vec<String> {
        let Self {
            image: _,
            command: _,
            args_at: _,
            entrypoint: _,
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
            pull: _,
        } = self;
        let mut out = Vec::new();
        let mut tell = |moved: bool, text: &dyn Fn() -> String| out.extend(moved.then(text));
        tell(network != "none", &|| format!("network: {network}"));
        tell(user.as_ref().is_some_and(ContainerUser::is_root), &|| match user {
            Some(ContainerUser::Named(name)) => format!("user: {name} (root)"),
            _ => "user: current (root)".to_owned(),
        });
        tell(!read_only, &|| "read_only: false".to_owned());
        tell(*tmpfs > Self::TMPFS, &|| format!("tmpfs: {}", shown_memory(*tmpfs)));
        tell(!cap_add.is_empty(), &|| format!("cap_add: [{}]", cap_add.join(", ")));
        tell(!no_new_privileges, &|| "no_new_privileges: false".to_owned());
        tell(!init, &|| "init: false".to_owned());
        let (Resources { memory, cpu, pids }, default) = (resources, Resources::default());
        tell(*memory == 0 || *memory > default.memory, &|| {
            format!("resources.memory: {}", limit(shown_memory(*memory)))
        });
        tell(*cpu == 0.0 || *cpu > default.cpu, &|| format!("resources.cpu: {}", limit(cpu.to_string())));
        tell(*pids == 0 || *pids > default.pids, &|| format!("resources.pids: {}", limit(pids.to_string())));
        for volume in volumes.iter().filter(|volume| !volume.read_only) {
            let text = || format!("volumes: {}:{}:rw", volume.host.display(), volume.container.display());
            tell(true, &text);
        }
        tell(environment.inherit == InheritEnv::All, &|| "inherit_env: true".to_owned());
        out
    }
}

fn limit(number: String) -> String {
    if number == "0" { "0 (unlimited)".to_owned() } else { number }
}

impl ContainerUser {
    fn is_root(&self) -> bool {
        match self {
            Self::Current => geteuid().is_root(),
            Self::Named(name) => matches!(name.split(':').next(), Some("root" | "0")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::Path};

    use super::super::{Launch, load_with};

    fn relaxed(keys: &str) -> String {
        let text = format!("providers:\n  a: {{mode: docker, image: x, enabled: false, {keys}}}\n");
        let mut read = |path: &Path| {
            if path == Path::new("/config.yaml") {
                Ok(text.clone().into())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        };
        let loaded = load_with(Path::new("/config.yaml"), &mut read, &|_| None).unwrap();
        let Launch::Docker(docker) = &loaded.config.providers.values().next().unwrap().launch else { panic!() };
        docker.relaxed().join("; ")
    }

    #[test]
    fn nothing_is_told_of_defaults_and_of_what_is_tighter() {
        assert_eq!(relaxed(""), "");
        let tighter = "tmpfs: 0, resources: {memory: 64m, cpu: 0.5, pids: 10}, user: 1000, volumes: ['/a:/b:ro'], \
                       network: none, cap_add: [], inherit_env: [A]";
        assert_eq!(relaxed(tighter), "");
    }

    #[test]
    fn each_key_that_opens_something_is_told_as_in_the_file() {
        let open = "network: bridge, user: '0:5', read_only: false, tmpfs: 1g, cap_add: [CAP_SYS_PTRACE, NET_RAW, NET_RAW], \
                    no_new_privileges: false, init: false, resources: {memory: 0, cpu: 2, pids: 0}, volumes: ['/a:/b'], inherit_env: true";
        assert_eq!(
            relaxed(open),
            "network: bridge; user: 0:5 (root); read_only: false; tmpfs: 1g; cap_add: [NET_RAW, SYS_PTRACE]; \
             no_new_privileges: false; init: false; resources.memory: 0 (unlimited); resources.cpu: 2; \
             resources.pids: 0 (unlimited); volumes: /a:/b:rw; inherit_env: true"
        );
    }
}
