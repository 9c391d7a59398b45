//! The test provider's command line: how it behaves as a process.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use super::search;

pub struct Options {
    pub name: String,
    pub version: String,
    /// `--tools a,b,c`: beside the built-in ones.
    pub tools: Vec<String>,
    /// Of tools/list; 0 = one page.
    pub page_size: usize,
    /// `--list endless | many:N | large:BYTES`: an odd tools/list: pages without end, N further tools, one with a schema of so
    /// many bytes.
    pub list: List,
    /// `--catalogue SERVER | START+COUNT`: tools in the manner of public servers instead of its own, see `support/search`.
    pub catalogue: Vec<Value>,
    /// `--roots-tool`: one tool more for a client that has declared roots.
    pub roots_tool: bool,
    /// `--ask-roots`: asks for the roots as soon as it may.
    pub ask_roots: bool,
    /// `--refuse-envelope`: a request that bears what only the other era's do is refused.
    pub refuse_envelope: bool,
    /// `--tasks`: it has tasks, and declares them and more.
    pub tasks: bool,
    /// `--ttl-ms N`, `--cache-scope SCOPE`: what its modern lists say.
    pub ttl_ms: u64,
    pub cache_scope: String,
    /// `--no-list-changed`: a modern one does not tell of changes of its tools.
    pub list_changed: bool,
    /// `--era legacy | modern | both | locked | turning`: the protocol revisions it serves; locked: the one that it is first spoken
    /// to in; turning: the newer one until it is greeted with `initialize`.
    pub era: Era,
    /// `--probe unknown | error:CODE | silent | garbage | noise | exit | linger | choke | twice`: what a legacy server does about `server/discover`.
    pub probe: Probe,
    /// `--log-requests FILE`: appends the method of every message.
    pub log_requests: Option<PathBuf>,
    /// `--start-delay MS`: before anything is read.
    pub start_delay: Duration,
    /// `--handshake exit[:CODE] | hang | error`.
    pub handshake: Handshake,
    pub ignore_eof: bool,
    pub ignore_term: bool,
    /// `--grandchild KIND[,stubborn]`, repeatable.
    pub grandchildren: Vec<Grandchild>,
    /// `--noise N`: lines of no JSON on stdout at start.
    pub noise: usize,
    /// `--stderr-flood BYTES` before anything is read.
    pub stderr_flood: usize,
    /// `--crash-starts N --counter FILE`: the first N starts exit with code 9.
    pub crash_starts: usize,
    pub counter: Option<PathBuf>,
    /// `--log-starts FILE`: appends `start PID` and, when it ends in an orderly way, `stop PID`.
    pub log_starts: Option<PathBuf>,
    /// `--pids FILE`: this process and each grandchild appends `PID STARTTIME`.
    pub pids: Option<PathBuf>,
    /// `--lifetime S`: nothing that a failed test leaves behind lives longer.
    pub lifetime: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Era {
    Legacy,
    Modern,
    Both,
    Locked,
    Turning,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    Unknown,
    Error(i32),
    Silent,
    Garbage,
    Noise,
    Exit,
    /// Closes its stdout and ends a moment later.
    Linger,
    /// Answers nothing from then on.
    Choke,
    /// A modern server that refuses the first question, and says that it knows the revision.
    Twice,
}

pub enum Handshake {
    Normal,
    Exit(i32),
    Hang,
    Error,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum List {
    Normal,
    Endless,
    Many(usize),
    Large(usize),
}

#[derive(Clone, Copy)]
pub struct Grandchild {
    pub kind: Kind,
    /// Catches SIGTERM and lives on.
    pub stubborn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In the server's group, with its pipes.
    Plain,
    /// In its own session.
    Setsid,
    /// In its own session, its parent gone, its pipes closed.
    DoubleFork,
    /// The same, and without any environment.
    ClearedEnv,
}

impl Options {
    /// Panics on an unknown option: a test that misspells one must not pass.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--name" => options.name = value(),
                "--version" => options.version = value(),
                "--tools" => options.tools = value().split(',').map(str::to_owned).collect(),
                "--page-size" => options.page_size = number(&value()),
                "--tasks" => options.tasks = true,
                "--ttl-ms" => options.ttl_ms = number(&value()) as u64,
                "--cache-scope" => options.cache_scope = value(),
                "--no-list-changed" => options.list_changed = false,
                "--roots-tool" => options.roots_tool = true,
                "--ask-roots" => options.ask_roots = true,
                "--refuse-envelope" => options.refuse_envelope = true,
                "--catalogue" => options.catalogue = search::chosen(&value()),
                "--list" => options.list = List::parse(&value()),
                "--era" => options.era = Era::parse(&value()),
                "--probe" => options.probe = Probe::parse(&value()),
                "--log-requests" => options.log_requests = Some(value().into()),
                "--start-delay" => options.start_delay = Duration::from_millis(number(&value()) as u64),
                "--handshake" => options.handshake = Handshake::parse(&value()),
                "--ignore-eof" => options.ignore_eof = true,
                "--ignore-term" => options.ignore_term = true,
                "--grandchild" => options.grandchildren.push(Grandchild::parse(&value())),
                "--noise" => options.noise = number(&value()),
                "--stderr-flood" => options.stderr_flood = number(&value()),
                "--crash-starts" => options.crash_starts = number(&value()),
                "--counter" => options.counter = Some(value().into()),
                "--log-starts" => options.log_starts = Some(value().into()),
                "--pids" => options.pids = Some(value().into()),
                "--lifetime" => options.lifetime = Duration::from_secs(number(&value()) as u64),
                _ => panic!("unknown option {arg}"),
            }
        }
        options
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "test-provider".into(),
            version: "1.0.0".into(),
            tools: Vec::new(),
            page_size: 0,
            list: List::Normal,
            catalogue: Vec::new(),
            roots_tool: false,
            ask_roots: false,
            refuse_envelope: false,
            tasks: false,
            ttl_ms: 5,
            cache_scope: "public".into(),
            list_changed: true,
            era: Era::Legacy,
            probe: Probe::Unknown,
            log_requests: None,
            start_delay: Duration::ZERO,
            handshake: Handshake::Normal,
            ignore_eof: false,
            ignore_term: false,
            grandchildren: Vec::new(),
            noise: 0,
            stderr_flood: 0,
            crash_starts: 0,
            counter: None,
            log_starts: None,
            pids: None,
            lifetime: Duration::from_secs(600),
        }
    }
}

impl Era {
    fn parse(text: &str) -> Self {
        match text {
            "legacy" => Self::Legacy,
            "modern" => Self::Modern,
            "both" => Self::Both,
            "locked" => Self::Locked,
            "turning" => Self::Turning,
            _ => panic!("unknown era {text}"),
        }
    }
}

impl Probe {
    fn parse(text: &str) -> Self {
        match text.split_once(':').unwrap_or((text, "0")) {
            ("unknown", _) => Self::Unknown,
            ("error", code) => Self::Error(code.parse().expect("a code")),
            ("silent", _) => Self::Silent,
            ("garbage", _) => Self::Garbage,
            ("noise", _) => Self::Noise,
            ("exit", _) => Self::Exit,
            ("linger", _) => Self::Linger,
            ("choke", _) => Self::Choke,
            ("twice", _) => Self::Twice,
            _ => panic!("unknown probe {text}"),
        }
    }
}

impl Handshake {
    fn parse(text: &str) -> Self {
        match text.split_once(':').unwrap_or((text, "3")) {
            ("normal", _) => Self::Normal,
            ("exit", code) => Self::Exit(code.parse().expect("an exit code")),
            ("hang", _) => Self::Hang,
            ("error", _) => Self::Error,
            _ => panic!("unknown handshake {text}"),
        }
    }
}

impl List {
    fn parse(text: &str) -> Self {
        match text.split_once(':').unwrap_or((text, "0")) {
            ("endless", _) => Self::Endless,
            ("many", n) => Self::Many(number(n)),
            ("large", bytes) => Self::Large(number(bytes)),
            _ => panic!("unknown list {text}"),
        }
    }
}

impl Grandchild {
    pub fn parse(text: &str) -> Self {
        let (kind, stubborn) = match text.split_once(',') {
            Some((kind, "stubborn")) => (kind, true),
            None => (text, false),
            Some(_) => panic!("unknown grandchild {text}"),
        };
        let kind = match kind {
            "plain" => Kind::Plain,
            "setsid" => Kind::Setsid,
            "double-fork" => Kind::DoubleFork,
            "cleared-env" => Kind::ClearedEnv,
            _ => panic!("unknown grandchild {text}"),
        };
        Self { kind, stubborn }
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}
