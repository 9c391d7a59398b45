//! `cargo bench --bench connect`: what `hangar connect` adds to the start of a session, what it costs in memory, and what
//! one gateway for all clients saves. From outside, on the release binary; docs/benchmarks.md says what is measured.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const HANGAR: &str = env!("CARGO_BIN_EXE_hangar");
const PROVIDER: &str = env!("CARGO_BIN_EXE_hangar-test-provider");
/// Each with its own process, and as many clients.
const PROVIDERS: usize = 10;

const HELLO: &str = r#"{"hangar":"connect","protocol":1,"version":"0","pid":1}"#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;

/// A directory that is home, runtime and state directory.
struct Home {
    dir: tempfile::TempDir,
}

/// A stdio server and its two pipes; ended when dropped.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Home {
    fn new() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("run"))?;
        let provider = |n| format!("  p{n}: {{command: {}}}\n", json!([PROVIDER, "--name", format!("p{n}")]));
        let providers: String = (0..PROVIDERS).map(provider).collect();
        let settings = "config_reload: {enabled: false}\ndaemon: {idle_exit_s: 600}\nlogging: {level: error}\n";
        fs::write(dir.path().join("config.yaml"), format!("{settings}providers:\n{providers}"))?;
        Ok(Self { dir })
    }

    fn command(&self, words: &[&str]) -> Command {
        let home = self.dir.path();
        let mut command = Command::new(HANGAR);
        command.args(words).arg("--config").arg(home.join("config.yaml")).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", home).env("XDG_RUNTIME_DIR", home.join("run"));
        command.env("XDG_STATE_HOME", home.join("state"));
        command
    }

    fn client(&self, words: &[&str]) -> io::Result<Client> {
        let mut child =
            self.command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Client { child, stdin, stdout: BufReader::new(stdout) })
    }

    fn socket(&self) -> io::Result<PathBuf> {
        let files = fs::read_dir(self.dir.path().join("run/hangar"))?.flatten().map(|entry| entry.path());
        let mut sockets = files.filter(|path| path.extension().is_some_and(|extension| extension == "sock"));
        let connect = |path: &PathBuf| !path.to_string_lossy().contains('-');
        sockets.find(connect).ok_or_else(|| io::Error::other("no connect socket"))
    }

    fn status(&self) -> io::Result<Value> {
        Ok(serde_json::from_slice(&self.command(&["status", "--json"]).output()?.stdout)?)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(&["stop"]).output();
    }
}

impl Client {
    fn ask(&mut self, line: &str) -> io::Result<String> {
        self.stdin.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        assert!(answer.contains("\"result\""), "{answer}");
        Ok(answer)
    }

    /// Starts every provider, and uses it.
    fn use_all(&mut self) -> io::Result<()> {
        self.ask(INITIALIZE)?;
        for n in 0..PROVIDERS {
            self.stdin.write_all(
                format!(
                    "{}\n",
                    json!({"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": format!("p{n}__pid")}})
                )
                .as_bytes(),
            )?;
        }
        let mut answered = 0;
        while answered < PROVIDERS {
            let mut line = String::new();
            self.stdout.read_line(&mut line)?;
            answered += usize::from(line.contains("\"result\""));
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `Rss` and `Pss` of a process, in kB.
fn memory(pid: u32) -> io::Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    field("Rss:").zip(field("Pss:")).ok_or_else(|| io::Error::other("no Rss and Pss"))
}

/// Living processes that bear the home in their environment: number and PSS in kB.
fn whole(home: &Path) -> io::Result<(usize, u64)> {
    let mark = home.to_string_lossy().into_owned();
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&mark)
    });
    let sizes: Vec<u64> = ours.filter_map(|pid| memory(pid).ok()).map(|(_, pss)| pss).collect();
    Ok((sizes.len(), sizes.iter().sum()))
}

fn percentile(times: &mut [Duration], part: f64) -> f64 {
    times.sort();
    let at = ((times.len() as f64 - 1.0) * part).round() as usize;
    times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
}

fn tell(out: &mut impl Write, what: &str, times: &mut [Duration]) -> io::Result<f64> {
    let median = percentile(times, 0.5);
    writeln!(out, "{what:58} median {median:6.2} ms   p99 {:6.2} ms", percentile(times, 0.99))?;
    Ok(median)
}

fn starts(home: &Home, rounds: usize, out: &mut impl Write) -> io::Result<()> {
    home.client(&["connect"])?.ask(INITIALIZE)?;
    let socket = home.socket()?;
    let (mut bare, mut through, mut process) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(format!("{HELLO}\n").as_bytes())?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        stream.write_all(format!("{INITIALIZE}\n").as_bytes())?;
        reader.read_line(&mut line)?;
        bare.push(began.elapsed());

        let began = Instant::now();
        let mut client = home.client(&["connect"])?;
        client.ask(INITIALIZE)?;
        through.push(began.elapsed());
        drop(client);

        // What any process costs that is as large.
        let began = Instant::now();
        Command::new(HANGAR).arg("--version").stdout(Stdio::null()).status()?;
        process.push(began.elapsed());
    }
    let bare = tell(out, "hello and initialize on the daemon's socket", &mut bare)?;
    let through = tell(out, "the same through `hangar connect`, process start included", &mut through)?;
    tell(out, "for comparison: `hangar --version`", &mut process)?;
    writeln!(
        out,
        "added by connect: {:.2} ms ({:.0} x the bare handshake), {rounds} rounds",
        through - bare,
        through / bare
    )
}

fn main() -> io::Result<()> {
    // `cargo bench` says `--bench`; `cargo test` does not, and builds without optimisation.
    let smoke = !std::env::args().any(|argument| argument == "--bench");
    let (rounds, clients) = if smoke { (3, 2) } else { (200, 10) };
    let out = &mut io::stdout().lock();
    let home = Home::new()?;
    starts(&home, rounds, out)?;

    let mut connected = (0..clients).map(|_| home.client(&["connect"])).collect::<io::Result<Vec<_>>>()?;
    connected.iter_mut().try_for_each(Client::use_all)?;
    let (rss, pss) = memory(connected.last().map_or(0, |client| client.child.id()))?;
    writeln!(out, "one `hangar connect`: RSS {rss} kB, PSS {pss} kB")?;
    let daemon = home.status()?["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
    let (rss, pss) = memory(daemon)?;
    writeln!(out, "the daemon: RSS {rss} kB, PSS {pss} kB")?;
    let (processes, shared) = whole(home.dir.path())?;
    writeln!(out, "{clients} connect + daemon + {PROVIDERS} providers: {processes} processes, PSS {shared} kB")?;
    // Pages that both would share count half for each.
    drop((connected, home));

    let apart = Home::new()?;
    let mut gateways = (0..clients).map(|_| apart.client(&["serve"])).collect::<io::Result<Vec<_>>>()?;
    gateways.iter_mut().try_for_each(Client::use_all)?;
    let (processes, separate) = whole(apart.dir.path())?;
    writeln!(out, "{clients} stdio gateways x {PROVIDERS} providers: {processes} processes, PSS {separate} kB")?;
    writeln!(out, "ratio {:.1}", separate as f64 / shared as f64)
}
