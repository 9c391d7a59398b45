//! Clients through `hangar connect`, the daemons of a home, and a daemon that the test itself plays.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::gateway::{Client, Home, SOON, Signal, UNWATCHED, Value, config, eventually, json, sha256, signal};

/// A home whose daemons end with it.
pub struct Place {
    pub home: Arc<Home>,
}

/// One client and its `hangar connect`; ended when dropped.
pub struct Connect {
    pub client: Client,
    pub child: Child,
    err: Arc<Mutex<String>>,
}

impl Place {
    /// `settings`: more of the file, in whole lines. A daemon of it ends with its last client unless they say otherwise.
    pub fn new(providers: impl FnOnce(&Home) -> String, settings: &str) -> Self {
        let home = Home::new();
        fs::create_dir(home.path("run/hangar")).unwrap();
        let place = Self { home };
        place.put(&providers(&place.home), settings);
        place
    }

    pub fn put(&self, providers: &str, settings: &str) {
        let idle = if settings.contains("daemon:") { "" } else { "daemon: {idle_exit_s: 0}\n" };
        self.home.put(&config(providers, &format!("{UNWATCHED}{idle}{settings}")));
    }

    /// `hangar` with these words and the config of the home.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hangar"));
        command.args(words).arg("--config").arg(self.home.config()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path("")).env("TMPDIR", self.home.path("run"));
        command.env("XDG_STATE_HOME", self.home.path("state")).env("XDG_RUNTIME_DIR", self.home.path("run"));
        command.current_dir("/");
        command
    }

    /// Started, nothing said yet.
    pub fn spawn(&self) -> Connect {
        Connect::spawn(&mut self.command(&["connect"]))
    }

    /// Past the handshake.
    pub fn connect(&self) -> Connect {
        let connect = self.spawn();
        connect.greet("test", json!({}));
        connect
    }

    /// Of the one gateway that runs this file.
    pub fn status(&self) -> Value {
        let mut all = self.statuses();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// Of the newest of this kind.
    pub fn status_of(&self, transport: &str) -> Value {
        self.statuses().into_iter().find(|status| status["transport"] == transport).unwrap_or_default()
    }

    pub fn statuses(&self) -> Vec<Value> {
        let done = self.command(&["status", "--json"]).stdin(Stdio::null()).output().unwrap();
        serde_json::Deserializer::from_slice(&done.stdout).into_iter().map(Result::unwrap).collect()
    }

    pub fn file(&self, ending: &str) -> PathBuf {
        let dir = fs::canonicalize(self.home.path("conf")).unwrap();
        let key = sha256(dir.join("config.yaml").to_str().unwrap());
        self.home.path(&format!("run/hangar/{}{ending}", &key[..16]))
    }

    /// Every living daemon of this config.
    pub fn daemons(&self) -> Vec<u32> {
        let config = self.home.config();
        let words = ["serve", "--daemon", "--config", config.to_str().unwrap()].join("\0");
        let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&words) && crate::gateway::Being::of(*pid).is_some()
        })
        .collect()
    }

    /// The one that there is.
    pub fn daemon(&self) -> u32 {
        let daemons = self.daemons();
        assert_eq!(daemons.len(), 1, "{daemons:?}; log: {}", self.log());
        daemons[0]
    }

    pub fn log(&self) -> String {
        let files = fs::read_dir(self.home.path("state/hangar")).into_iter().flatten().flatten();
        let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("daemon-"));
        logs.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    /// Nothing is left of any daemon or provider.
    pub fn assert_all_gone(&self, within: Duration) {
        eventually("the daemon is gone", within, || self.daemons().is_empty().then_some(()));
        let files = || fs::read_dir(self.home.path("run/hangar")).unwrap().flatten().map(|file| file.path());
        assert_eq!(files().collect::<Vec<_>>(), Vec::<PathBuf>::new(), "nothing lies about");
        self.home.assert_nothing_left(within);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of the daemons ---\n{}", self.log());
        }
        // The shims end the providers.
        self.daemons().into_iter().for_each(|pid| signal(pid, Signal::KILL));
    }
}

impl Connect {
    pub fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let err = Arc::new(Mutex::new(String::new()));
        let (kept, stderr) = (err.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        let client = Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { client, child, err }
    }

    /// The handshake under a name; the result.
    pub fn greet(&self, name: &str, capabilities: Value) -> Value {
        let info = json!({"name": name, "version": "7"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info});
        let mut answer = self.client.request("initialize", params);
        assert!(answer["result"].is_object(), "{answer} {}", self.err());
        self.client.notify("notifications/initialized", json!({}));
        answer["result"].take()
    }

    /// Everything on stderr so far.
    pub fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    pub fn wait_err(&self, text: &str) {
        eventually(&format!("stderr says {text:?}"), SOON, || self.err().contains(text).then_some(()));
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("connect has ended", SOON * 3, || child.try_wait().unwrap())
    }

    /// Closes its stdin; it ends well.
    pub fn leave(mut self) {
        self.client.close();
        assert_eq!(self.wait_exit().code(), Some(0), "{}", self.err());
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- stderr of connect ---\n{}", self.err());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What listens where a daemon would.
pub struct Fake {
    listener: UnixListener,
}

/// One connection to it.
pub struct FakeLink {
    reader: BufReader<UnixStream>,
}

impl Fake {
    pub fn new(place: &Place) -> Self {
        Self { listener: UnixListener::bind(place.file(".sock")).unwrap() }
    }

    /// Takes a connection and its hello, and gives this one.
    pub fn accept(&self, hello: &str) -> FakeLink {
        let mut link = self.accept_silent();
        let theirs = link.line();
        assert_eq!((&theirs["hangar"], &theirs["protocol"]), (&json!("connect"), &json!(1)), "{theirs}");
        link.say(hello);
        link
    }

    pub fn accept_silent(&self) -> FakeLink {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        FakeLink { reader: BufReader::new(stream) }
    }

    pub fn hello(version: &str, protocol: u32) -> String {
        json!({"hangar": "daemon", "protocol": protocol, "version": version, "pid": 4242, "generation_id": "x"})
            .to_string()
    }
}

impl FakeLink {
    /// The next line; null when the other end has closed.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Value::Null,
            Ok(_) => serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}")),
            Err(error) => panic!("no line: {error}"),
        }
    }

    pub fn say(&mut self, line: &str) {
        // One that is gone needs nothing.
        let _ = self.reader.get_mut().write_all(format!("{line}\n").as_bytes());
    }

    pub fn answer(&mut self, request: &Value, result: Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string());
    }
}

pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");
