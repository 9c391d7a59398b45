//! A command of the shape `docker run ...` or `podman run ...`: what has to be added so that the container, which is no
//! process of ours, can be found and ends with its provider.

use std::path::Path;

use crate::{
    config::ProviderName,
    transport::{Marker, docker::labels, shim::aftermath},
};

const TOOLS: &[&str] = &["docker", "podman", "nerdctl"];

/// Options of the tools themselves that are followed by their value.
const GLOBALS_WITH_VALUE: &[&str] = &[
    "--config",
    "-c",
    "--context",
    "--connection",
    "-H",
    "--host",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--url",
    "--identity",
    "--root",
    "--runroot",
    "--runtime",
    "--storage-driver",
    "--cgroup-manager",
    "--conmon",
    "--network-cmd-path",
    "--tmpdir",
    "--volumepath",
    "--ssh",
    "--namespace",
    "-n",
    "--address",
    "-a",
];

/// Options of `run` that stand alone; every other one has a value.
const FLAGS: &[&str] = &[
    "detach",
    "disable-content-trust",
    "env-host",
    "help",
    "http-proxy",
    "init",
    "interactive",
    "no-healthcheck",
    "no-hostname",
    "no-hosts",
    "oom-kill-disable",
    "passwd",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "read-only-tmpfs",
    "replace",
    "rm",
    "rmi",
    "rootfs",
    "sig-proxy",
    "tls-verify",
    "tty",
    "unsetenv-all",
    "use-api-socket",
];
const SHORT_FLAGS: &str = "diPqt";

/// A command line of that shape, and where its parts are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Words between the program and `run` or `container run`.
    pub(super) globals: usize,
    /// Where the options of `run` begin.
    options: usize,
    has_name: bool,
    has_init: bool,
}

impl Run {
    /// `None`: it is something else, a script around such a command included.
    pub(super) fn find(argv: &[String]) -> Option<Self> {
        let program = Path::new(argv.first()?).file_name()?.to_str()?;
        if !TOOLS.contains(&program) {
            return None;
        }
        let mut at = 1;
        while let Some(word) = argv.get(at).filter(|word| word.starts_with('-')) {
            at += if GLOBALS_WITH_VALUE.contains(&word.as_str()) { 2 } else { 1 };
        }
        let globals = at - 1;
        if argv.get(at)? == "container" {
            at += 1;
        }
        if argv.get(at)? != "run" {
            return None;
        }
        let mut run = Self { globals, options: at + 1, has_name: false, has_init: false };
        run.read_options(argv);
        Some(run)
    }

    /// Up to the image: what follows it belongs to the server.
    fn read_options(&mut self, argv: &[String]) {
        let mut words = argv.get(self.options..).unwrap_or_default().iter();
        while let Some(word) = words.next().filter(|word| word.starts_with('-') && *word != "--") {
            let Some(long) = word.strip_prefix("--") else {
                // `-it`, `-e NAME=value`, `-v/a:/b`: a letter with a value ends the word, or takes the next one.
                let with_value = word.char_indices().skip(1).find(|(_, letter)| !SHORT_FLAGS.contains(*letter));
                if with_value.is_some_and(|(at, letter)| at + letter.len_utf8() == word.len()) {
                    words.next();
                }
                continue;
            };
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            self.has_name |= name == "name";
            self.has_init |= name == "init";
            if value.is_none() && !FLAGS.contains(&name) {
                words.next();
            }
        }
    }

    /// The command line with what is ours in it.
    pub(super) fn adopted(
        &self,
        argv: &[String],
        name: &ProviderName,
        marker: &Marker,
        connection: &str,
    ) -> Vec<String> {
        let labels = labels::of(name, marker).into_iter().chain([(aftermath::LABEL, connection.to_owned())]);
        let mut ours: Vec<String> =
            labels.flat_map(|(label, value)| ["--label".to_owned(), format!("{label}={value}")]).collect();
        if !self.has_init {
            // Without one a server that is process 1 mostly ignores SIGTERM.
            ours.push("--init".to_owned());
        }
        if !self.has_name {
            ours.extend(["--name".to_owned(), format!("hangar-{name}-{}", connection.get(..8).unwrap_or(connection))]);
        }
        let (before, after) = argv.split_at(self.options.min(argv.len()));
        [before, &ours, after].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Vec<String> {
        line.split_ascii_whitespace().map(str::to_owned).collect()
    }

    fn adopted(line: &str) -> Option<String> {
        let argv = argv(line);
        let marker = Marker { instance: "i".into(), generation: "g".into() };
        let run = Run::find(&argv)?;
        let line = run.adopted(&argv, &ProviderName::new("a").unwrap(), &marker, "0123456789abcdef").join(" ");
        let owner = crate::host::Owner::ours().to_string();
        let labels = format!(
            "--label hangar.managed=true --label hangar.instance=i --label hangar.provider=a --label hangar.generation=g \
             --label hangar.owner={owner} --label hangar.connection=0123456789abcdef"
        );
        Some(line.replace(&labels, "LABELS"))
    }

    #[test]
    fn labels_an_init_and_a_name_come_right_after_run() {
        let is = |line: &str, expected: &str| assert_eq!(adopted(line).as_deref(), Some(expected), "{line}");
        is("docker run -i --rm x:1 --name a", "docker run LABELS --init --name hangar-a-01234567 -i --rm x:1 --name a");
        is(
            "/usr/bin/podman container run -i x",
            "/usr/bin/podman container run LABELS --init --name hangar-a-01234567 -i x",
        );
        is(
            "docker -H unix:///s --debug run --rm x",
            "docker -H unix:///s --debug run LABELS --init --name hangar-a-01234567 --rm x",
        );
        is("docker run --name=n --init -i x", "docker run LABELS --name=n --init -i x");
        is("docker run --init=false --name n x", "docker run LABELS --init=false --name n x");
        // Values that look like options, and letters run together.
        is("docker run -e --name -it x", "docker run LABELS --init --name hangar-a-01234567 -e --name -it x");
        is("docker run -ie A=1 --name n x", "docker run LABELS --init -ie A=1 --name n x");
        is(
            "docker run -v/a:/b --network none --name n x",
            "docker run LABELS --init -v/a:/b --network none --name n x",
        );
        is("docker run -- x --init", "docker run LABELS --init --name hangar-a-01234567 -- x --init");
    }

    #[test]
    fn anything_else_is_left_as_it_is() {
        for line in [
            "docker",
            "docker exec -i c x",
            "docker compose run x",
            "run",
            "mydocker run x",
            "docker -H run",
            "sh -c docker",
        ] {
            assert_eq!(Run::find(&argv(line)), None, "{line}");
        }
        assert_eq!(Run::find(&[]), None);
    }
}
