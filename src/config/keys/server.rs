//! The keys of `server`.

use super::{ABOVE_ZERO, EXPOSE, GLOB, PROTOCOL, Section, Shape, key, list, word};
use crate::config::{limits::LIMITS, rules};

pub(super) static SERVER: Section = Section {
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

pub(super) static CLIENT: Section = Section {
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
