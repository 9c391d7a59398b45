//! The processes under test: gateways with a home of their own, and echo servers. Each ends with its owner.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::load;

pub const HANGAR: &str = env!("CARGO_BIN_EXE_hangar");
pub const ECHO: &str = env!("CARGO_BIN_EXE_hangar-test-echo");

/// Longer than anything takes to start.
const SOON: Duration = Duration::from_secs(20);

/// A process that is ended when it is dropped.
pub struct Peer {
    child: Child,
    /// Where it listens, if it does.
    pub address: Option<SocketAddr>,
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.address.ok_or_else(|| io::Error::other("it does not listen"))
    }

    /// Nanoseconds of processor time so far, all threads that live now.
    pub fn cpu(&self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread that ended in between takes its share with it; worker threads do not end.
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum)
    }

    /// `Rss` and `Pss` in MiB.
    pub fn memory(&self) -> io::Result<(f64, f64)> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()
        };
        field("Rss:")
            .zip(field("Pss:"))
            .map(|(rss, pss)| (rss / 1024.0, pss / 1024.0))
            .ok_or_else(|| io::Error::other("no Rss and Pss in smaps_rollup"))
    }

    /// Processes that it has started.
    pub fn children(&self) -> io::Result<usize> {
        let mut count = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            count += fs::read_to_string(task?.path().join("children")).unwrap_or_default().split_whitespace().count();
        }
        Ok(count)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Kindly: a gateway has children of its own to end.
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An echo server behind HTTP, or the floor: everything that prints its address first.
pub fn listening(arguments: &[&str]) -> io::Result<Peer> {
    let mut command = Command::new(ECHO);
    let mut child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(Peer { child, address: Some(line.trim().parse().map_err(io::Error::other)?) })
}

/// An echo server on stdio.
pub fn echo_on_stdio() -> io::Result<(Peer, load::Stdio)> {
    spoken_to(Command::new(ECHO).arg("stdio"))
}

fn spoken_to(command: &mut Command) -> io::Result<(Peer, load::Stdio)> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((Peer { child, address: None }, load::Stdio::new(stdin, stdout)))
}

/// A directory with a configuration, and everything that a gateway keeps.
pub struct Home {
    root: tempfile::TempDir,
}

impl Home {
    pub fn new(config: &str) -> io::Result<Self> {
        let home = Self { root: tempfile::Builder::new().prefix("hangar-bench-").tempdir()? };
        home.write(config)?;
        Ok(home)
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("config.yaml")
    }

    /// As an editor does it, but long ago: a file at rest is taken at once.
    pub fn write(&self, config: &str) -> io::Result<()> {
        let scratch = self.path().join("config.yaml.new");
        fs::write(&scratch, config)?;
        let hour = Duration::from_secs(3600);
        fs::File::options().write(true).open(&scratch)?.set_modified(std::time::SystemTime::now() - hour)?;
        fs::rename(scratch, self.config())
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(HANGAR);
        command.args(["serve", "--config"]).arg(self.config());
        for (variable, dir) in [("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run"), ("HOME", "home")] {
            // Made by the first gateway of this home.
            let _ = fs::create_dir(self.path().join(dir));
            command.env(variable, self.path().join(dir));
        }
        command.env_remove("STATE_DIRECTORY").env_remove("RUNTIME_DIRECTORY").stderr(Stdio::null());
        command
    }

    pub fn gateway_on_stdio(&self) -> io::Result<(Peer, load::Stdio)> {
        spoken_to(&mut self.serve())
    }

    pub fn gateway_on_http(&self) -> io::Result<Peer> {
        // Free a moment ago; a bench has the machine for itself, as far as ports go.
        let address = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let child =
            self.serve().args(["--http", "--port", &address.port().to_string()]).stdin(Stdio::null()).spawn()?;
        let peer = Peer { child, address: Some(address) };
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if began.elapsed() > SOON {
                return Err(io::Error::other("the gateway does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(peer)
    }
}
