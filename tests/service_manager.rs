//! What a service manager sees of the gateway: a real notification socket, a real socket to be activated by.

#[path = "support/gateway.rs"]
mod gateway;

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use gateway::{Home, HttpSession, SOON, Signal, UNWATCHED, config, eventually, json, ms, signal};

/// The manager's side.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(home: &Home) -> Self {
        let path = home.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, path }
    }

    /// The next datagram that has a line which begins so.
    fn told(&self, line: &str) -> Vec<String> {
        loop {
            let mut bytes = [0; 1024];
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{line}: {error}"));
            let lines: Vec<String> = String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned).collect();
            if lines.iter().any(|told| told.starts_with(line)) {
                return lines;
            }
        }
    }
}

/// A gateway over HTTP that ends with its test.
struct Service(Child);

impl Service {
    fn start(home: &Arc<Home>, manager: &Path, more: &[(&str, &str)], activated: Option<TcpListener>) -> Self {
        let mut command = Command::new("sh");
        let with_socket = activated.is_some();
        // As the manager does it: the first socket is descriptor 3, and the process itself is meant.
        let take = if with_socket {
            "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\""
        } else {
            "exec \"$@\""
        };
        let stdin = activated.map_or_else(Stdio::null, |listener| Stdio::from(OwnedFd::from(listener)));
        command.args(["-c", take, "sh", env!("CARGO_BIN_EXE_hangar"), "serve", "--http", "--config"]);
        command.arg(home.config());
        if !with_socket {
            command.args(["--port", "0"]);
        }
        let child = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path(""))
            .env("XDG_RUNTIME_DIR", home.path("run"))
            .env("XDG_STATE_HOME", home.path("state"))
            .env("NOTIFY_SOCKET", manager)
            .envs(more.iter().copied())
            .stdin(stdin)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn stop(mut self) {
        signal(self.0.id(), Signal::TERM);
        let child = &mut self.0;
        let status = eventually("it has ended", SOON, || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn p34_ready_reloading_with_its_time_ready_again_and_stopping() {
    let home = Home::new();
    home.put(&config(&home.provider("a", &[], ""), UNWATCHED));
    let manager = Manager::new(&home);
    let service = Service::start(&home, &manager.path, &[], None);
    manager.told("READY=1");
    // Of a reload that succeeds, one that fails, and a restart: each is over when READY comes.
    for (yaml, name) in [(config("", UNWATCHED), Signal::HUP), ("providers: [\n".into(), Signal::HUP)] {
        home.put(&yaml);
        signal(service.0.id(), name);
        let lines = manager.told("RELOADING=1");
        let time = lines.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("in the same datagram");
        assert!(time.parse::<u64>().unwrap() > 0, "{lines:?}");
        manager.told("READY=1");
    }
    home.put(&config("", UNWATCHED));
    signal(service.0.id(), Signal::USR2);
    assert!(manager.told("RELOADING=1").iter().any(|line| line.starts_with("MONOTONIC_USEC=")));
    manager.told("READY=1");
    let pid = service.0.id();
    signal(pid, Signal::TERM);
    manager.told("STOPPING=1");
    service.stop();
}

#[test]
fn the_watchdog_is_kept_quiet_also_across_a_restart() {
    let home = Home::new();
    home.put(&config("", UNWATCHED));
    let manager = Manager::new(&home);
    let service = Service::start(&home, &manager.path, &[("WATCHDOG_USEC", "100000")], None);
    for _ in 0..5 {
        manager.told("WATCHDOG=1");
    }
    signal(service.0.id(), Signal::USR2);
    manager.told("RELOADING=1");
    manager.told("READY=1");
    for _ in 0..5 {
        manager.told("WATCHDOG=1");
    }
    service.stop();
}

#[test]
fn a_socket_that_the_manager_listens_on_is_served_and_kept_over_restarts() {
    let home = Home::new();
    // Nobody listens at the port of the file: the socket that was given counts.
    home.put(&config(&home.provider("a", &[], ""), &format!("{UNWATCHED}server: {{port: 1}}\n")));
    let manager = Manager::new(&home);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let service = Service::start(&home, &manager.path, &[], Some(listener.try_clone().unwrap()));
    manager.told("READY=1");
    assert!(HttpSession::open(address).call("a__pid", json!({}))["error"].is_null());
    let environment = std::fs::read(format!("/proc/{}/environ", home.starts("a")[0].1)).unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(!environment.contains("LISTEN_") && !environment.contains("NOTIFY_"), "{environment}");
    for _ in 0..2 {
        signal(service.0.id(), Signal::USR2);
        manager.told("READY=1");
        assert!(HttpSession::open(address).call("a__pid", json!({}))["error"].is_null());
    }
    service.stop();
    home.assert_nothing_left(ms(1000));
}
