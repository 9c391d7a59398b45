//! A directory that is home, runtime and state directory at once, commands run in it, and gateways that end with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Longest anything here may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Two providers out of the binary itself.
pub const TWO: &str = "\
providers:
  math: {command: [hangar, demo-server, math], description: Arithmetic}
  text: {command: [hangar, demo-server, text]}
config_reload: {enabled: false}
";

pub struct Place {
    pub dir: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub struct Gateway {
    child: Child,
    /// Every process that it started goes when this does.
    pub log: PathBuf,
}

impl Place {
    pub fn new(config: &str) -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("run")).expect("a runtime directory");
        let place = Place { dir };
        place.write(config);
        place
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    pub fn write(&self, config: &str) {
        fs::write(self.config(), config).expect("the config is written");
    }

    /// `hangar` with these words, in the directory; nothing of the tester's environment but PATH.
    pub fn command(&self, words: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_hangar")), words)
    }

    fn command_of(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        let home = self.dir.path();
        command.args(words).current_dir(home).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home).env("XDG_RUNTIME_DIR", home.join("run")).env("XDG_STATE_HOME", home.join("state"));
        command
    }

    pub fn run(&self, words: &[&str]) -> Done {
        let output = self.command(words).output().expect("the binary runs");
        Done::from(output)
    }

    /// A gateway over HTTP on a free port, ready.
    pub fn serve(&self) -> Gateway {
        self.start(&["serve", "--http", "--port", "0"], "http")
    }

    /// A gateway on stdio, ready; its client is silent.
    pub fn serve_stdio(&self) -> Gateway {
        self.start(&["serve"], "stdio")
    }

    /// With these words instead of `serve --http --port 0`.
    pub fn serve_words(&self, words: &[&str]) -> Gateway {
        self.start(words, "words")
    }

    /// The same as [`Self::serve`], with another program file.
    pub fn serve_with(&self, program: &Path) -> Gateway {
        self.start_command(self.command_of(program, &["serve", "--http", "--port", "0"]), "copy")
    }

    fn start(&self, words: &[&str], name: &str) -> Gateway {
        self.start_command(self.command(words), name)
    }

    fn start_command(&self, mut command: Command, name: &str) -> Gateway {
        let log = self.dir.path().join(format!("{name}-{}.log", self.sockets().len()));
        let out = fs::File::create(&log).expect("a log");
        command.stdin(Stdio::piped()).stderr(out).stdout(Stdio::null());
        let mut gateway = Gateway { child: command.spawn().expect("the binary starts"), log };
        let pid = gateway.pid();
        until("the gateway answers", || {
            let ended = gateway.child.try_wait().expect("it is ours");
            assert!(ended.is_none(), "the gateway ended ({ended:?}): {}", gateway.said());
            let mine =
                self.sockets().into_iter().find(|path| path.to_string_lossy().ends_with(&format!("-{pid}.sock")));
            mine.is_some_and(|socket| {
                matches!(self.run(&["status", "--socket", &socket.to_string_lossy()]).code, Some(0 | 1))
            })
        });
        gateway
    }

    /// Everything that gateways keep in the runtime directory.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("run/hangar")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// The admin sockets that lie in the runtime directory.
    pub fn sockets(&self) -> Vec<PathBuf> {
        // They bear a pid; the connect socket does not.
        let admin = |path: &PathBuf| {
            path.extension().is_some_and(|ext| ext == "sock")
                && path.file_name().is_some_and(|name| name.to_string_lossy().contains('-'))
        };
        self.files().into_iter().filter(admin).collect()
    }
}

impl Gateway {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit code, once it has ended.
    pub fn exited(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().expect("it is ours").map(|status| status.code())
    }

    /// Without a chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    /// Asks it to stop, and waits.
    pub fn stop(&mut self) {
        if self.child.try_wait().expect("it is ours").is_some() {
            return;
        }
        let pid = i32::try_from(self.pid()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        // It may have ended in between.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        until("the gateway stops", || self.child.try_wait().expect("it is ours").is_some());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else {
            self.stop();
        }
    }
}

impl Done {
    #[track_caller]
    pub fn exits(self, code: i32) -> Done {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {:?}\nstderr: {}", self.out, self.err))
    }

    #[track_caller]
    pub fn says(self, words: &[&str]) -> Done {
        for word in words {
            assert!(self.out.contains(word), "stdout lacks {word:?}: {}\nstderr: {}", self.out, self.err);
        }
        self
    }

    #[track_caller]
    pub fn complains(self, words: &[&str]) -> Done {
        for word in words {
            assert!(self.err.contains(word), "stderr lacks {word:?}: {}\nstdout: {}", self.err, self.out);
        }
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
