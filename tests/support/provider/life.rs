//! The test provider as a process: start, end, signals, and the processes it starts itself.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio, exit},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    thread,
    time::Duration,
};

use signal_hook::{consts::SIGTERM, iterator::Signals};

use crate::options::{Grandchild, Kind, Options};

/// `__descendant KIND[,stubborn] PIDS_FILE|- LIFETIME_S`
pub const DESCENDANT: &str = "__descendant";

pub fn begin(options: &Options) {
    bound_life(options.lifetime);
    // Before the first word in the log: every start that is logged has its stop.
    handle_term(options);
    log(options.log_starts.as_deref(), "start");
    if let Some(pids) = &options.pids {
        record_pid(pids);
    }
    if let Some(counter) = &options.counter {
        let starts = fs::read_to_string(counter).ok().and_then(|t| t.trim().parse::<usize>().ok()).unwrap_or(0);
        fs::write(counter, (starts + 1).to_string()).expect("the counter file can be written");
        if starts < options.crash_starts {
            let _ = writeln!(io::stderr(), "crashing at start {}", starts + 1);
            end(options, 9);
        }
    }
    for grandchild in &options.grandchildren {
        spawn_descendant(*grandchild, options);
    }
    for i in 0..options.noise {
        let _ = writeln!(io::stdout().lock(), "noise {i}: server starting, not JSON");
    }
    flood_stderr(options.stderr_flood);
    thread::sleep(options.start_delay);
}

/// What is open now: `{"0": "pipe:[..]", ...}`, without the descriptor that lists them.
pub fn descriptors() -> String {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: BTreeMap<String, String> = entries
        .filter_map(|e| Some((e.file_name().into_string().ok()?, fs::read_link(e.path()).ok()?.display().to_string())))
        .filter(|(_, target)| !target.starts_with("/proc/"))
        .collect();
    serde_json::json!(open).to_string()
}

/// The orderly end.
pub fn end(options: &Options, code: i32) -> ! {
    log_stop(options.log_starts.as_deref());
    exit(code)
}

pub fn sleep_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

pub fn flood_stderr(bytes: usize) {
    let block =
        b"a line of standard error that somebody should keep reading, or this process will stand still\n".repeat(500);
    let mut err = io::stderr().lock();
    let mut left = bytes;
    while left > 0 {
        let part = &block[..left.min(block.len())];
        if err.write_all(part).is_err() {
            return;
        }
        left -= part.len();
    }
}

/// Starts one process that is meant to outlive us.
pub fn spawn_descendant(grandchild: Grandchild, options: &Options) {
    let pids = options.pids.as_ref().map_or("-".into(), |p| p.to_string_lossy());
    let lifetime = options.lifetime.as_secs();
    let mut child = start(grandchild.kind, grandchild.stubborn, &pids, lifetime);
    // Not a zombie of ours while we live.
    thread::spawn(move || child.wait());
}

fn start(kind: Kind, stubborn: bool, pids: &str, lifetime: u64) -> std::process::Child {
    let name = match kind {
        Kind::Plain => "plain",
        Kind::Setsid => "setsid",
        Kind::DoubleFork => "double-fork",
        Kind::ClearedEnv => "cleared-env",
    };
    let name = if stubborn { format!("{name},stubborn") } else { name.to_owned() };
    Command::new("/proc/self/exe")
        .args([DESCENDANT, &name, pids, &lifetime.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .expect("a descendant starts")
}

/// The life of a process started by [`spawn_descendant`].
pub fn descendant(args: &[String]) {
    let [_, grandchild, pids, lifetime] = args else { panic!("{args:?}") };
    let Grandchild { kind, stubborn } = Grandchild::parse(grandchild);
    if kind != Kind::Plain {
        rustix::process::setsid().expect("a child may make its own session");
    }
    if matches!(kind, Kind::DoubleFork | Kind::ClearedEnv) {
        let mut command = Command::new("/proc/self/exe");
        if kind == Kind::ClearedEnv {
            command.env_clear();
        }
        let inner = if stubborn { "plain,stubborn" } else { "plain" };
        command.args([DESCENDANT, inner, pids, lifetime]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Left behind on purpose: our own end makes it an orphan.
        drop(command.spawn());
        return;
    }
    if stubborn {
        signal_hook::flag::register(SIGTERM, Arc::new(AtomicBool::new(false))).expect("SIGTERM can be caught");
    }
    bound_life(Duration::from_secs(lifetime.parse().expect("seconds")));
    if pids != "-" {
        record_pid(Path::new(pids));
    }
    sleep_for_ever();
}

fn handle_term(options: &Options) {
    let (ignore, log_starts) = (options.ignore_term, options.log_starts.clone());
    let mut signals = Signals::new([SIGTERM]).expect("SIGTERM can be caught");
    thread::spawn(move || {
        for signal in &mut signals {
            if !ignore {
                log_stop(log_starts.as_deref());
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    });
}

fn bound_life(lifetime: Duration) {
    thread::spawn(move || {
        thread::sleep(lifetime);
        exit(99)
    });
}

/// Once: the signal may come while the end of the input is being read.
fn log_stop(file: Option<&Path>) {
    static LOGGED: Mutex<bool> = Mutex::new(false);
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if !std::mem::replace(&mut *logged, true) {
        log(file, "stop");
    }
}

fn log(file: Option<&Path>, word: &str) {
    if let Some(file) = file {
        append(file, &format!("{word} {}\n", std::process::id()));
    }
}

/// `PID STARTTIME`: two numbers that name one process for good.
fn record_pid(file: &Path) {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc is mounted");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let started = after_name.split_ascii_whitespace().nth(19).expect("22 fields");
    append(file, &format!("{} {started}\n", std::process::id()));
}

/// One write, so that lines of several processes do not mix.
fn append(file: &Path, line: &str) {
    let mut file = File::options().create(true).append(true).open(file).expect("the log file opens");
    file.write_all(line.as_bytes()).expect("the log file takes a line");
}
