//! The bytes that say which upstream a launch leads to; hashed, they name its remembered catalogue.

use std::collections::BTreeMap;

use super::{Auth, DockerSpec, Environment, InheritEnv, Launch, PemFile, RemoteSpec, Secret, SubprocessSpec};

impl Launch {
    /// Gives every part in a fixed order. Secret values are given too: `sink` must hash them and keep nothing.
    /// Exhaustive destructuring: a new field breaks the build until it is decided on here.
    pub fn feed(&self, sink: &mut dyn FnMut(&[u8])) {
        sink(self.mode().as_bytes());
        match self {
            Self::Subprocess(SubprocessSpec { argv, args_at: _, cwd, environment }) => {
                list(argv, sink);
                sink(cwd.as_os_str().as_encoded_bytes());
                environment.feed(sink);
            }
            Self::Docker(docker) => feed_docker(docker, sink),
            Self::Remote(RemoteSpec { endpoint, transport, headers, auth, tls }) => {
                sink(endpoint.as_bytes());
                sink(format!("{transport:?}").as_bytes());
                map(headers, sink);
                match auth {
                    Auth::None => sink(b"none"),
                    Auth::Bearer { token } => sink(token.expose().as_bytes()),
                    Auth::Basic { username, password } => {
                        sink(username.as_bytes());
                        sink(password.expose().as_bytes());
                    }
                    Auth::ApiKey { header, key } => {
                        sink(header.as_bytes());
                        sink(key.expose().as_bytes());
                    }
                }
                for file in [&tls.ca, &tls.client_cert, &tls.client_key] {
                    sink(file.as_ref().map_or(b"", |PemFile { pem, .. }| pem.expose().as_bytes()));
                }
                sink(&[u8::from(tls.verify)]);
            }
        }
    }
}

fn feed_docker(docker: &DockerSpec, sink: &mut dyn FnMut(&[u8])) {
    let DockerSpec {
        image,
        command,
        args_at: _,
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
        pull: _,
    } = docker;
    sink(image.as_bytes());
    list(command, sink);
    list(entrypoint, sink);
    environment.feed(sink);
    // Debug of these types is total and holds no secret.
    sink(format!("{volumes:?} {network} {user:?} {read_only} {resources:?}").as_bytes());
    sink(format!("{tmpfs} {cap_add:?} {no_new_privileges} {init}").as_bytes());
}

impl Environment {
    fn feed(&self, sink: &mut dyn FnMut(&[u8])) {
        let Self { env, env_files, inherit, from_dotenv } = self;
        map(env, sink);
        for file in env_files {
            map(&file.vars, sink);
        }
        match inherit {
            InheritEnv::AllowListOnly => sink(b"-"),
            InheritEnv::Names(names) => list(names, sink),
            InheritEnv::All => sink(b"*"),
        }
        // Without one as before there were such files: what was remembered stays known.
        if !from_dotenv.is_empty() {
            map(from_dotenv, sink);
        }
    }
}

fn list<'a>(items: impl IntoIterator<Item = &'a String>, sink: &mut dyn FnMut(&[u8])) {
    items.into_iter().for_each(|item| sink(item.as_bytes()));
    sink(b"");
}

fn map(items: &BTreeMap<String, Secret>, sink: &mut dyn FnMut(&[u8])) {
    for (key, value) in items {
        sink(key.as_bytes());
        sink(value.expose().as_bytes());
    }
    sink(b"");
}
