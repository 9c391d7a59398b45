//! The survivor matrix through the shipped binary: as whoever runs the tests, as nobody, and as process 1 of a container that
//! holds nothing else.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    engine::{self, Engine},
    gateway::{Being, Client, Gateway, Home, PROVIDER, SOON, Signal, UNWATCHED, config, eventually, json, ms, signal},
};

const HANGAR: &str = env!("CARGO_BIN_EXE_hangar");
const NOBODY: u32 = 65534;
const KINDS: [&str; 4] = ["plain", "setsid", "double-fork", "cleared-env"];
const LADDER: Duration = Duration::from_millis(800);

/// One line of YAML: a provider with a descendant of each of these kinds.
fn family(name: &str, program: &str, pids: Option<&Path>, stubborn: bool, kinds: &[&str]) -> String {
    let mut argv: Vec<String> = [program, "--lifetime", "60"].map(str::to_owned).into();
    argv.extend(pids.into_iter().flat_map(|file| ["--pids".to_owned(), file.display().to_string()]));
    for kind in kinds {
        argv.extend([
            "--grandchild".to_owned(),
            if stubborn { format!("{kind},stubborn") } else { (*kind).to_owned() },
        ]);
    }
    if stubborn {
        argv.extend(["--ignore-eof", "--ignore-term"].map(str::to_owned));
    }
    format!("  {name}: {{command: {}, stop: {{grace_s: 0.4, term_s: 0.4}}}}\n", json!(argv))
}

/// A gateway of somebody, who has copies of the binaries: the build tree need not be theirs to read.
struct Theirs {
    home: Arc<Home>,
    child: Child,
    client: Client,
}

impl Theirs {
    fn start(uid: Option<u32>, stubborn: bool) -> Self {
        let home = Home::new();
        let bin = |name: &str, from: &str| {
            let to = home.path("conf").join(name);
            fs::copy(from, &to).unwrap();
            to
        };
        let (hangar, provider) = (bin("hangar", HANGAR), bin("provider", PROVIDER));
        let providers = family("a", provider.to_str().unwrap(), Some(&home.path("logs/a.pids")), stubborn, &KINDS);
        home.put(&config(&providers, UNWATCHED));
        let mut command = Command::new(hangar);
        command
            .args(["serve", "--config"])
            .arg(home.config())
            .env_clear()
            .env("HOME", home.path(""))
            .env("XDG_STATE_HOME", home.path("state"))
            .env("XDG_RUNTIME_DIR", home.path("run"))
            .current_dir(home.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(uid) = uid {
            give(&home.path(""), uid);
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn().unwrap();
        let client = Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        client.initialize(json!({}));
        Self { home, child, client }
    }

    /// The server, its four descendants and its shim, once all of them run.
    fn everybody(&self) -> BTreeSet<Being> {
        self.client.tool("hangar_start", json!({"provider": "a"}));
        let all = || self.home.beings("a").into_iter().collect::<BTreeSet<_>>();
        let mut all = eventually("five run", SOON, || Some(all()).filter(|all| all.len() == 5));
        let server = self.client.pid_of("a");
        all.extend(Being::of(crate::gateway::processes::parent(server)));
        all
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path(), uid);
        } else {
            chown(entry.path(), Some(uid), Some(uid)).unwrap();
        }
    }
}

fn matrix(uid: Option<u32>) {
    for stubborn in [false, true] {
        for end in ["stopped", "SIGTERM", "stdin closed", "SIGKILL", "exec", "shim SIGTERM"] {
            let mut theirs = Theirs::start(uid, stubborn);
            let all = theirs.everybody();
            let owner = fs::metadata(format!("/proc/{}", theirs.child.id())).map(|about| {
                use std::os::unix::fs::MetadataExt;
                about.uid()
            });
            assert!(uid.is_none() || owner.is_ok_and(|owner| Some(owner) == uid));
            match end {
                "stopped" => drop(theirs.client.start_tool("hangar_stop", json!({"provider": "a"}))),
                "SIGTERM" => signal(theirs.child.id(), Signal::TERM),
                "stdin closed" => theirs.client.close(),
                "SIGKILL" => theirs.child.kill().unwrap(),
                "exec" => signal(theirs.child.id(), Signal::USR2),
                _ => signal(crate::gateway::processes::parent(theirs.client.pid_of("a")), Signal::TERM),
            }
            let what = format!("uid {uid:?}, stubborn {stubborn}, {end}");
            eventually(&what, LADDER + Duration::from_secs(1), || all.iter().all(|b| !b.lives()).then_some(()));
            if matches!(end, "SIGTERM" | "stdin closed") {
                let code = eventually(&what, SOON, || theirs.child.try_wait().unwrap()).code();
                assert_eq!(code, Some(0), "{what}");
            }
        }
    }
}

#[test]
fn nothing_survives_a_gateway_of_ours() {
    matrix(None);
}

#[test]
fn nothing_survives_a_gateway_of_nobodys() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("!!! skipped: only root can become nobody");
        return;
    }
    matrix(Some(NOBODY));
}

/// A gateway as process 1 of a container that holds the two binaries and their libraries.
struct Boxed {
    name: String,
    child: Child,
    client: Client,
    _home: Arc<Home>,
}

/// A process in there, by its number out here.
#[derive(Debug)]
struct Inside {
    pid: u32,
    line: String,
}

impl Boxed {
    /// `None`: there is no engine, or no command for it.
    fn start() -> Option<Self> {
        Engine::bring()?;
        if !Command::new("docker").arg("version").output().is_ok_and(|out| out.status.success()) {
            eprintln!("!!! skipped: there is no docker command");
            return None;
        }
        let image = engine::import("gateway", &[HANGAR, PROVIDER]);
        let home = Home::new();
        let provider = format!("/{}", PathBuf::from(PROVIDER).file_name().unwrap().to_str().unwrap());
        // A cleared environment is the one gap where a shim is killed; the second family is without.
        let providers = family("all", &provider, None, true, &KINDS)
            + &family("polite", &provider, None, false, &KINDS)
            + &family("marked", &provider, None, true, &KINDS[..3]);
        home.put(&config(&providers, UNWATCHED));
        // The container's user is nobody.
        for path in ["", "conf", "conf/config.yaml", "run"] {
            chown(home.path(path), Some(NOBODY), None).unwrap();
        }
        let name = format!("hangar-test-{}", std::process::id());
        let volume = format!("{}:/conf:ro", home.path("conf").display());
        let mut child = Command::new("docker")
            .args([
                "run",
                "-i",
                "--rm",
                "--name",
                &name,
                "--network",
                "none",
                "--read-only",
                "--tmpfs",
                "/tmp:mode=1777",
            ])
            .args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "-v", &volume])
            .args(["-v", &format!("{}:/run", home.path("run").display())])
            .args(["-e", "HOME=/tmp", "-e", "XDG_RUNTIME_DIR=/run", &image])
            .args(["serve", "--config", "/conf/config.yaml"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let client = Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        client.initialize(json!({}));
        Some(Self { name, child, client, _home: home })
    }

    /// A command of the gateway's own program, in there.
    fn exec(&self, words: &[&str]) -> std::process::Output {
        let config = ["--config", "/conf/config.yaml"];
        Command::new("docker").args(["exec", &self.name, "/server"]).args(words).args(config).output().unwrap()
    }

    fn inside(&self) -> Vec<Inside> {
        let out = Command::new("docker").args(["top", &self.name, "-eo", "pid,args"]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let one = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let pid = words.next()?.parse().ok()?;
            Some(Inside { pid, line: words.collect::<Vec<_>>().join(" ") })
        };
        text.lines().skip(1).filter_map(one).collect()
    }

    /// What has ended below the gateway and was not reaped; the engine does not list it.
    fn zombies(&self) -> Vec<String> {
        let gateway = self.inside().iter().find(|one| one.line.contains("serve --config")).map(|one| one.pid);
        let gateway = gateway.expect("the gateway runs").to_string();
        let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("stat"));
        let is_one = |text: &String| {
            let mut fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&gateway)
        };
        all.filter_map(|path| fs::read_to_string(path).ok()).filter(is_one).collect()
    }

    /// Only the gateway is left, and nothing that nobody reaped.
    fn assert_alone(&self, what: &str) {
        let alone = || (self.inside().len() == 1 && self.zombies().is_empty()).then_some(());
        let start = std::time::Instant::now();
        while alone().is_none() {
            assert!(start.elapsed() < SOON, "{what}: {:#?} {:?}", self.inside(), self.zombies());
            std::thread::sleep(ms(50));
        }
    }

    fn wait(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the container has ended", SOON, || child.try_wait().unwrap()).code()
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.name]).output();
        let _ = self.child.wait();
    }
}

#[test]
fn as_process_1_of_a_container_nothing_is_left_and_no_zombie() {
    let Some(mut boxed) = Boxed::start() else { return };
    // Commands find process 1 from within, and the engine's signals are taken for the owner's.
    for (words, says) in [(&["reload"][..], "generation 1"), (&["status"], "pid 1,"), (&["restart"], "with pid 1 in")] {
        let out = boxed.exec(words);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success() && text.contains(says), "{words:?}: {out:?}");
    }
    let killed = Command::new("docker").args(["kill", "-s", "HUP", &boxed.name]).output().unwrap();
    assert!(killed.status.success(), "{killed:?}");
    eventually("the engine's SIGHUP is a reload", SOON, || {
        let status = boxed.exec(&["status", "--json"]);
        String::from_utf8_lossy(&status.stdout).contains("\"requested_by\": \"sighup\"").then_some(())
    });
    for round in 0..2 {
        for (name, count) in [("all", 7), ("polite", 7), ("marked", 6)] {
            boxed.client.tool("hangar_start", json!({"provider": name}));
            // The gateway, the shim, the server and its descendants.
            eventually("all run", SOON, || (boxed.inside().len() == count).then_some(()));
            assert_eq!(boxed.zombies(), Vec::<String>::new());
            boxed.client.tool("hangar_stop", json!({"provider": name}));
            boxed.assert_alone(&format!("round {round}, {name} stopped"));
        }
    }
    // A shim is killed: what it leaves becomes the gateway's, to end and to reap.
    boxed.client.tool("hangar_start", json!({"provider": "marked"}));
    let all = eventually("all run", SOON, || Some(boxed.inside()).filter(|all| all.len() == 6));
    let shim = all.iter().find(|one| one.line.contains("__shim ")).unwrap_or_else(|| panic!("{all:#?}"));
    signal(shim.pid, Signal::KILL);
    boxed.assert_alone("the shim was killed");

    boxed.client.tool("hangar_warm", json!({}));
    let all: Vec<_> = boxed.inside().iter().filter_map(|one| Being::of(one.pid)).collect();
    assert!(all.len() >= 15, "{all:?}");
    Command::new("docker").args(["kill", "-s", "TERM", &boxed.name]).output().unwrap();
    assert_eq!(boxed.wait(), Some(0));
    assert!(all.iter().all(|being| !being.lives()));
}

#[test]
fn a_container_whose_gateway_is_killed_is_gone_with_everything_in_it() {
    let Some(mut boxed) = Boxed::start() else { return };
    boxed.client.tool("hangar_warm", json!({}));
    let all: Vec<_> = boxed.inside().iter().filter_map(|one| Being::of(one.pid)).collect();
    assert!(all.len() >= 15, "{all:?}");
    Command::new("docker").args(["kill", "-s", "KILL", &boxed.name]).output().unwrap();
    assert_eq!(boxed.wait(), Some(137));
    eventually("all are gone", SOON, || all.iter().all(|being| !being.lives()).then_some(()));
}

/// As it is with gateways in containers that share a state directory and an engine's socket: no process id says anything.
#[test]
fn what_a_gateway_of_another_pid_namespace_leaves_is_swept_when_it_is_dead_and_not_before() {
    let Some(engine) = Engine::bring() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("!!! skipped: only root can make a pid namespace");
        return;
    }
    let home = Home::new();
    home.put(&config(&engine.provider("a", &["--ignore-eof"], "stop: {grace_s: 20, term_s: 5}"), UNWATCHED));
    let mut child = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", HANGAR, "serve", "--config"])
        .arg(home.config())
        .env("HOME", home.path(""))
        .env("XDG_STATE_HOME", home.path("state"))
        .env("XDG_RUNTIME_DIR", home.path("run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let client = Client::new(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    client.initialize(json!({}));
    client.tool("hangar_start", json!({"provider": "a"}));
    let owner = engine.container(&home)["Config"]["Labels"]["hangar.owner"].as_str().unwrap().to_owned();
    assert_eq!(owner.split(':').nth(2), Some("1"), "{owner}");

    let neighbour = Gateway::start(&home, "");
    crate::gateway::holds_for("a living gateway's is left alone", ms(700), || engine.containers(&home).len() == 1);
    client.tool("a__echo", json!({"a": 1}));
    // With it everything in its namespace dies, the keeper included.
    child.kill().unwrap();
    child.wait().unwrap();
    std::thread::sleep(ms(300));
    assert_eq!(engine.containers(&home).len(), 1, "it ignores the end of its stdin");
    let next = Gateway::start(&home, "");
    engine.assert_none_left(&home, SOON);
    next.stop();
    neighbour.stop();
    assert_eq!(fs::read_dir(home.path("state/hangar/lives")).unwrap().count(), 1, "that of the dead one");
}
