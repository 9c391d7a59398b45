//! The one table of keys. The parser walks it, the JSON Schema and the documentation's check are generated from it: there
//! is no second list of what a file may say.

use super::{
    audit::AUDIT,
    group_keys::{BREAKER, GROUP, HEALTH, MEMBER},
    limits::{LEAST_BYTES, LIMITS, MOST_BYTES},
    provider_keys::{PROVIDER_BREAKER, RESOURCES, STOP, TOOLS},
    rules::{self, Rule},
    scalar,
    telemetry::{OTLP, TELEMETRY},
};

/// A mapping with fixed keys.
#[derive(Debug)]
pub(super) struct Section {
    /// `file`, `provider`, `server`...: the name of its `$defs` entry.
    pub id: &'static str,
    pub about: &'static str,
    /// The key whose value decides which others belong, and its default.
    pub selector: Option<(&'static str, &'static str)>,
    pub keys: &'static [Key],
}

#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    pub shape: Shape,
    /// Values of the selector it belongs to; empty: all.
    pub only: &'static [&'static str],
    /// Values of the selector that cannot do without it.
    pub need: &'static [&'static str],
    /// `null` says "absent" (lists, maps and sections accept that in any case).
    pub nullable: bool,
    /// As JSON; empty: there is none.
    pub default: &'static str,
    pub about: &'static str,
}

#[derive(Debug)]
pub(super) enum Shape {
    Text(&'static Rule),
    /// Text, or a number or `true`/`false` taken as typed.
    Scalar(&'static Rule),
    Flag,
    Whole {
        min: u64,
        max: u64,
    },
    /// Seconds, decimals allowed.
    Seconds {
        min: f64,
    },
    /// 0 is allowed beside what is at least `min`.
    Decimal {
        min: f64,
        max: f64,
    },
    /// Bytes as a number, or `512m`; 0 is allowed beside what is at least `min`.
    Memory {
        min: u64,
    },
    Choice(&'static [Word]),
    /// `filled`: `[]` is refused.
    List {
        of: &'static Shape,
        filled: bool,
    },
    /// `true`, `false` or a list of names.
    FlagOrNames(&'static Rule),
    Map {
        keys: &'static Rule,
        of: &'static Shape,
        nullable: bool,
    },
    Fields(&'static Section),
}

/// One of the words of a choice.
#[derive(Debug)]
pub(super) struct Word {
    pub word: &'static str,
    pub aliases: &'static [&'static str],
}

/// What the format will have, but this version does not: refused with a text that says so, and absent from the schema.
/// Section, key, word of a choice (empty: the key itself), what it is.
const LATER: &[(&str, &str, &str, &str)] = &[
    ("file", "catalog", "", "the provider catalogue comes in a later version"),
    ("file", "discovery", "", "provider discovery comes in a later version"),
];

/// What to say when the thing is of a later version.
pub(super) fn later(section: &str, key: &str, word: &str) -> Option<&'static str> {
    LATER.iter().find(|(s, k, w, _)| (*s, *k, *w) == (section, key, word)).map(|(.., say)| *say)
}

pub(super) const fn word(word: &'static str) -> Word {
    Word { word, aliases: &[] }
}

pub(super) const fn key(name: &'static str, shape: Shape, default: &'static str, about: &'static str) -> Key {
    Key { name, aliases: &[], shape, only: &[], need: &[], nullable: false, default, about }
}

impl Key {
    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn only(mut self, only: &'static [&'static str]) -> Self {
        self.only = only;
        self
    }

    pub(super) const fn need(mut self, need: &'static [&'static str]) -> Self {
        self.need = need;
        self
    }

    pub(super) const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }
}

const SUBPROCESS: &[&str] = &["subprocess"];
const DOCKER: &[&str] = &["docker"];
const REMOTE: &[&str] = &["remote"];
const CHILD: &[&str] = &["subprocess", "docker"];

pub(super) const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, filled: false }
}

const ARGUMENT: Shape = Shape::Scalar(&rules::NO_NUL);
const PATH: Shape = Shape::Text(&rules::PATH);
pub(super) const GLOB: Shape = Shape::Text(&rules::GLOB);
const ENV: Shape = Shape::Map { keys: &rules::ENV_NAME, of: &Shape::Scalar(&rules::NO_NUL), nullable: true };
const HEADERS: Shape =
    Shape::Map { keys: &rules::HEADER_NAME, of: &Shape::Scalar(&rules::HEADER_VALUE), nullable: true };
const EXPOSE: Shape = Shape::Choice(&[word("direct"), word("search"), word("both")]);
const PROTOCOL: Shape = Shape::Choice(&[word("auto"), word("legacy"), word("2026-07-28")]);

pub(super) static FILE: Section = Section {
    id: "file",
    about: "Configuration of a hangar gateway.",
    selector: None,
    keys: &[
        key(
            "providers",
            Shape::Map { keys: &rules::PROVIDER_NAME, of: &Shape::Fields(&PROVIDER), nullable: false },
            "",
            "The upstream MCP servers by name. `{}` is a gateway without any.",
        )
        .alias(&["mcp_servers"])
        .need(&[""]),
        key(
            "groups",
            Shape::Map { keys: &rules::PROVIDER_NAME, of: &Shape::Fields(&GROUP), nullable: true },
            "{}",
            "Names that stand for several providers each.",
        ),
        key("config_reload", Shape::Fields(&RELOAD), "", "How changes of this file are noticed."),
        key("server", Shape::Fields(&SERVER), "", "What clients of the gateway see."),
        key("logging", Shape::Fields(&LOGGING), "", "What the gateway writes to stderr."),
        key("audit", Shape::Fields(&AUDIT), "", "Where each call, refusal, reload, start and stop is written down."),
        key("telemetry", Shape::Fields(&TELEMETRY), "", "Where traces of calls go."),
        key("cleanup", Shape::Fields(&CLEANUP), "", "What becomes of gateways that have lost their client."),
        key("daemon", Shape::Fields(&DAEMON), "", "The gateway that `hangar connect` starts."),
    ],
};

pub(super) static PROVIDER: Section = Section {
    id: "provider",
    about: "One upstream MCP server.",
    selector: Some(("mode", "subprocess")),
    keys: &[
        key(
            "mode",
            Shape::Choice(&[word("subprocess"), Word { word: "docker", aliases: &["container"] }, word("remote")]),
            "\"subprocess\"",
            "How the provider is reached: a child process, a container, or a server elsewhere.",
        ),
        key("command", list(&ARGUMENT), "[]", "Program and arguments. docker: replaces the image's own command.")
            .only(CHILD)
            .need(SUBPROCESS),
        key("args", list(&ARGUMENT), "[]", "Further arguments, appended to `command`.").only(CHILD),
        key("cwd", PATH, "", "Working directory. Default: the directory of this file.").only(SUBPROCESS).nullable(),
        key("env", ENV, "{}", "Environment variables of the provider. Win over `env_file`.").only(CHILD),
        key("env_file", list(&PATH), "[]", "Files of `NAME=value` lines; a later file wins. Read again at every reload.")
            .only(CHILD),
        key(
            "inherit_env",
            Shape::FlagOrNames(&rules::ENV_NAME),
            "false",
            "What the provider gets of the gateway's own environment beside the standard variables: `true` = all, or a list of names.",
        )
        .only(CHILD),
        key("image", Shape::Text(&rules::IMAGE), "", "The image to run.").only(DOCKER).need(DOCKER),
        key("entrypoint", list(&ARGUMENT), "[]", "Replaces the image's entrypoint.").only(DOCKER),
        key("volumes", list(&Shape::Text(&rules::VOLUME)), "[]", "`HOST:CONTAINER[:ro|rw]`; host paths start with `/` or `.`.")
            .only(DOCKER),
        key("network", Shape::Text(&rules::WORD), "\"none\"", "`none`, `bridge`, `host` or the name of a network.").only(DOCKER),
        key(
            "user",
            Shape::Scalar(&rules::WORD),
            "",
            "`current` = the gateway's own uid and gid; or `1000:1000`. Default: the image's own.",
        )
        .only(DOCKER)
        .nullable(),
        key("read_only", Shape::Flag, "true", "Mount the container's root file system read-only.").only(DOCKER),
        key("tmpfs", Shape::Memory { min: 64 << 10 }, "\"64m\"", "Size of `/tmp`, in memory, where the root file system is read-only; 0 = none.")
            .only(DOCKER)
            .nullable(),
        key("cap_add", list(&Shape::Text(&rules::CAPABILITY)), "[]", "Kernel capabilities the container gets; without any it has none.")
            .only(DOCKER),
        key("no_new_privileges", Shape::Flag, "true", "Keep set-uid programs in the container from gaining privileges.").only(DOCKER),
        key("init", Shape::Flag, "true", "Run a small init as process 1, which hands signals on and reaps.").only(DOCKER),
        key("resources", Shape::Fields(&RESOURCES), "{}", "Limits of the container; 0 = unlimited.").only(DOCKER),
        key(
            "pull",
            Shape::Choice(&[word("missing"), word("always"), word("never")]),
            "\"missing\"",
            "When the image is fetched from its registry.",
        )
        .only(DOCKER),
        key("endpoint", Shape::Text(&rules::ENDPOINT), "", "The `http://` or `https://` URL of the server.")
            .only(REMOTE)
            .need(REMOTE),
        key(
            "transport",
            Shape::Choice(&[word("streamable_http"), word("sse")]),
            "\"streamable_http\"",
            "`sse` is the older HTTP+SSE pair of MCP 2024-11-05.",
        )
        .only(REMOTE),
        key("headers", HEADERS, "{}", "HTTP headers sent with every request.").only(REMOTE),
        key("auth", Shape::Fields(&AUTH), "{}", "Credentials sent with every request.").only(REMOTE),
        key("tls", Shape::Fields(&TLS), "{}", "How an `https://` endpoint is trusted.").only(REMOTE),
        key("description", Shape::Text(&rules::ANY), "", "What the provider is for; shown to people and models.").nullable(),
        key("idle_ttl_s", Shape::Seconds { min: 0.0 }, "300", "Seconds without a call before the provider is stopped; 0 = never."),
        key("health_check_interval_s", Shape::Seconds { min: 0.0 }, "60", "Seconds between two health probes; 0 = no probe."),
        key(
            "max_consecutive_failures",
            Shape::Whole { min: 1, max: MAX_COUNT },
            "3",
            "Failed starts or probes in a row, or ends without an answer, before the provider counts as dead.",
        ),
        key("crash_budget", Shape::Whole { min: 0, max: 1000 }, "5", "Times it may end by itself within a minute and be started again by the next call at once; 0 = no limit."),
        key("circuit_breaker", Shape::Fields(&PROVIDER_BREAKER), "{}", "When calls of a provider that does not answer are refused at once, and for how long."),
        key("max_concurrency", Shape::Whole { min: 0, max: MAX_COUNT }, "10", "Calls in flight at the same time; 0 = unlimited."),
        key("max_queued", Shape::Whole { min: 0, max: MAX_COUNT }, "1024", "Calls that may wait for their turn; 0 = none, each is refused at once."),
        key("max_message_bytes", Shape::Whole { min: LEAST_BYTES, max: MOST_BYTES }, "16777216", "Longest message taken from the provider."),
        key("max_answer_bytes", Shape::Memory { min: LEAST_BYTES }, "0", "Longest result of a tool call given whole; of longer ones the beginning, and the rest by `hangar_fetch_continuation`. 0 = any."),
        key("startup_timeout_s", Shape::Seconds { min: ABOVE_ZERO }, "30", "Longest a start may take, handshake included."),
        key("call_timeout_s", Shape::Seconds { min: ABOVE_ZERO }, "60", "Longest one call may take."),
        key("max_call_time_s", Shape::Seconds { min: ABOVE_ZERO }, "600", "Longest one call may take that tells of its progress, which gives it `call_timeout_s` anew."),
        key("drain_timeout_s", Shape::Seconds { min: 0.0 }, "30", "Longest a graceful stop waits for calls in flight."),
        key("stop", Shape::Fields(&STOP), "{}", "How patiently the provider's process is ended.").only(CHILD),
        key("protocol", PROTOCOL, "\"auto\"", "Which revisions of MCP are spoken to the provider."),
        key(
            "sharing",
            Shape::Choice(&[word("shared"), word("session")]),
            "\"shared\"",
            "Who shares an instance: `shared` = every client; `session` = each client session has one of its own.",
        ),
        key("max_instances", Shape::Whole { min: 1, max: MAX_COUNT }, "64", "With `sharing: session`: clients that may have an instance at the same time."),
        key("tools", Shape::Fields(&TOOLS), "{}", "Which of the provider's tools are offered."),
        key("enabled", Shape::Flag, "true", "`false` takes the provider out of service."),
    ],
};

pub(super) const MAX_COUNT: u64 = 1_000_000;
/// The smallest time that is not zero.
pub(super) const ABOVE_ZERO: f64 = 0.001;

static AUTH: Section = Section {
    id: "auth",
    about: "Credentials sent with every request to a remote provider.",
    selector: Some(("type", "none")),
    keys: &[
        key(
            "type",
            Shape::Choice(&[word("none"), word("bearer"), word("basic"), word("api_key")]),
            "\"none\"",
            "The scheme.",
        ),
        key("token", Shape::Scalar(&rules::CREDENTIAL), "", "The bearer token.").only(&["bearer"]).need(&["bearer"]),
        key("username", Shape::Scalar(&rules::USERNAME), "", "The user.").only(&["basic"]).need(&["basic"]),
        key("password", Shape::Scalar(&rules::NO_NUL), "", "The password.").only(&["basic"]).need(&["basic"]),
        key("header", Shape::Text(&rules::HEADER_NAME), "", "The header that carries the key.")
            .only(&["api_key"])
            .need(&["api_key"]),
        key("key", Shape::Scalar(&rules::CREDENTIAL), "", "The key.").only(&["api_key"]).need(&["api_key"]),
    ],
};

static TLS: Section = Section {
    id: "tls",
    about: "How an `https://` endpoint is trusted. Files are PEM and read at every load.",
    selector: None,
    keys: &[
        key("verify", Shape::Flag, "true", "`false` accepts any certificate."),
        key("ca_file", PATH, "null", "Certificates to trust, instead of the system's.").nullable(),
        key("client_cert", PATH, "null", "Certificate to show to the server; needs `client_key`.").nullable(),
        key("client_key", PATH, "null", "Private key of `client_cert`.").nullable(),
    ],
};

static RELOAD: Section = Section {
    id: "config_reload",
    about: "How changes of the configuration are noticed. SIGHUP, the tool, HTTP and the command line work in any case.",
    selector: None,
    keys: &[
        key("enabled", Shape::Flag, "true", "Reload by itself when a file has changed."),
        key(
            "use_watchdog",
            Shape::Flag,
            "true",
            "Use the system's file notifications too, not only a poll of the contents.",
        ),
        key("interval_s", Shape::Seconds { min: 0.1 }, "5", "Seconds between two polls."),
    ],
};

static SERVER: Section = Section {
    id: "server",
    about: "What clients of the gateway see.",
    selector: None,
    keys: &[
        key("host", Shape::Text(&rules::HOST), "\"127.0.0.1\"", "Address to listen on with `--http`."),
        key("port", Shape::Whole { min: 0, max: 65535 }, "8000", "Port to listen on with `--http`; 0 = any free one."),
        key(
            "tool_prefix",
            Shape::Choice(&[word("always"), word("never")]),
            "\"always\"",
            "Whether tools and prompts are listed as `<provider>__<name>`.",
        ),
        key(
            "expose",
            EXPOSE,
            "\"direct\"",
            "How the providers' tools are offered: `direct` = listed one by one; `search` = through `hangar_search_tools`, `hangar_tools` and `hangar_call`, which are all that is listed; `both` = both.",
        ),
        key(
            "clients",
            list(&Shape::Fields(&CLIENT)),
            "[]",
            "Clients that get them otherwise than `expose` says; the first entry that fits counts.",
        ),
        key("protocol", PROTOCOL, "\"auto\"", "Which revisions of MCP are spoken to clients."),
        key(
            "allowed_hosts",
            list(&Shape::Text(&rules::HOST_PORT)),
            "[]",
            "Further values of the Host header that are accepted, `name` or `name:port`.",
        ),
        key(
            "allowed_origins",
            list(&Shape::Text(&rules::ORIGIN)),
            "[]",
            "Values of the Origin header that are accepted beside the gateway's own, `https://name[:port]`.",
        ),
        key("control_tools", list(&GLOB), "[\"*\"]", "Patterns of the gateway's own tools to offer; `[]` offers none.")
            .nullable(),
        key("session_idle_s", Shape::Seconds { min: 1.0 }, "3600", "Seconds a silent client session is remembered."),
        key(
            "list_timeout_s",
            Shape::Seconds { min: ABOVE_ZERO },
            "10",
            "Longest one listing waits for providers whose tools are not known yet.",
        ),
        key(
            "progress_keep_alive_s",
            Shape::Seconds { min: 0.0 },
            "30",
            "After so much silence of a provider a client that asked for progress is told that its call goes on; 0 = never.",
        ),
        key("limits", Shape::Fields(&LIMITS), "{}", "How much is taken from clients."),
    ],
};

static CLIENT: Section = Section {
    id: "clients",
    about: "Clients of one kind, and how they get the providers' tools.",
    selector: None,
    keys: &[
        key(
            "match",
            GLOB,
            "",
            "A pattern of the name that a client gives itself (`clientInfo.name`); case does not matter.",
        )
        .need(&[""]),
        key("expose", EXPOSE, "", "The same as `server.expose`.").need(&[""]),
    ],
};

static LOGGING: Section = Section {
    id: "logging",
    about: "What the gateway writes to stderr.",
    selector: None,
    keys: &[
        key(
            "level",
            Shape::Choice(&[word("error"), word("warn"), word("info"), word("debug"), word("trace")]),
            "\"info\"",
            "The least important lines that are written.",
        ),
        key("format", Shape::Choice(&[word("text"), word("json")]), "\"text\"", "For people or for machines."),
    ],
};

static CLEANUP: Section = Section {
    id: "cleanup",
    about: "What becomes of earlier stdio gateways of this file that have lost their client.",
    selector: None,
    keys: &[key(
        "max_instances",
        Shape::Whole { min: 1, max: 1_000_000 },
        "9",
        "The newest so many gateways of this file are kept in any case; of older ones those without a client are ended.",
    )],
};

static DAEMON: Section = Section {
    id: "daemon",
    about: "The gateway that `hangar connect` starts and all its clients share.",
    selector: None,
    keys: &[key(
        "idle_exit_s",
        Shape::Seconds { min: 0.0 },
        "300",
        "Seconds it stays when nobody is connected; 0 = it ends with its last client.",
    )],
};

/// Every section, for what looks at all keys.
pub(super) static SECTIONS: &[&Section] = &[
    &FILE,
    &PROVIDER,
    &STOP,
    &TOOLS,
    &PROVIDER_BREAKER,
    &RESOURCES,
    &AUTH,
    &TLS,
    &GROUP,
    &MEMBER,
    &HEALTH,
    &BREAKER,
    &RELOAD,
    &SERVER,
    &CLIENT,
    &LIMITS,
    &LOGGING,
    &AUDIT,
    &TELEMETRY,
    &OTLP,
    &CLEANUP,
    &DAEMON,
];

impl Shape {
    /// "a list", "true or false"...: what was expected here.
    pub(super) fn wanted(&self) -> &'static str {
        match self {
            Shape::Text(_) | Shape::Scalar(_) => "text",
            Shape::Flag => "true or false",
            Shape::Whole { .. } => "a whole number",
            Shape::Seconds { .. } => "a number of seconds",
            Shape::Decimal { .. } => "a number",
            Shape::Memory { .. } => "an amount of memory such as 512m",
            Shape::Choice(_) => "one word",
            Shape::List { .. } => "a list",
            Shape::FlagOrNames(_) => "true, false or a list of names",
            Shape::Map { .. } | Shape::Fields(_) => "a mapping",
        }
    }
}

/// Longest time anything can be set to: a year.
pub(super) const MAX_SECONDS: f64 = scalar::YEAR;
