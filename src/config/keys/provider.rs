//! The keys of one provider.

use super::{
    ABOVE_ZERO, CHILD, DOCKER, ENV, GLOB, HEADERS, MAX_COUNT, PATH, PROTOCOL, REMOTE, SUBPROCESS, Section, Shape, Word,
    key, list, word,
};
use crate::config::{
    limits::{LEAST_BYTES, MOST_BYTES},
    rules,
};

const ARGUMENT: Shape = Shape::Scalar(&rules::NO_NUL);

pub(in crate::config) static PROVIDER: Section = Section {
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
            "Failed starts or probes in a row before the provider counts as dead.",
        ),
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

pub(super) static STOP: Section = Section {
    id: "stop",
    about: "The waiting times between closing stdin, SIGTERM and SIGKILL; together at most 40.",
    selector: None,
    keys: &[
        key("grace_s", Shape::Seconds { min: 0.0 }, "10", "Seconds between closing stdin and SIGTERM."),
        key("term_s", Shape::Seconds { min: 0.0 }, "9", "Seconds between SIGTERM and SIGKILL."),
    ],
};

pub(super) static TOOLS: Section = Section {
    id: "tools",
    about: "Patterns on the provider's own tool names. A tool is offered when an `allow` matches and no `deny` does.",
    selector: None,
    keys: &[
        key("allow", Shape::List { of: &GLOB, filled: true }, "[\"*\"]", "Tools to offer."),
        key("deny", list(&GLOB), "[]", "Tools to hold back."),
    ],
};

pub(super) static RESOURCES: Section = Section {
    id: "resources",
    about: "Limits of a container; 0 = unlimited.",
    selector: None,
    keys: &[
        key(
            "memory",
            Shape::Memory { min: 6 << 20 },
            "\"512m\"",
            "Bytes, or a number with `k`, `m`, `g` or `t` (powers of 1024). At least `6m`; 0 = unlimited.",
        )
        .nullable(),
        key("cpu", Shape::Decimal { min: 0.01, max: 4096.0 }, "1.0", "Cores; 0.5 is half a core; 0 = unlimited.")
            .nullable(),
        key("pids", Shape::Whole { min: 0, max: 4_194_304 }, "128", "Processes and threads; 0 = unlimited.").nullable(),
    ],
};

pub(super) static AUTH: Section = Section {
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

pub(super) static TLS: Section = Section {
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
