//! The file as a whole, and its small sections.

use super::{PROVIDER, SERVER, Section, Shape, key, word};
use crate::config::{audit::AUDIT, discovery::DISCOVERY, group_keys::GROUP, rules, telemetry::TELEMETRY};

pub(in crate::config) static FILE: Section = Section {
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
        key(
            "catalog",
            Shape::Map { keys: &rules::PROVIDER_NAME, of: &Shape::Fields(&PROVIDER), nullable: true },
            "{}",
            "Providers that are not in service until they are loaded by name.",
        ),
        key("discovery", Shape::Fields(&DISCOVERY), "", "Where providers are found beside this file."),
        key("config_reload", Shape::Fields(&RELOAD), "", "How changes of this file are noticed."),
        key("server", Shape::Fields(&SERVER), "", "What clients of the gateway see."),
        key("logging", Shape::Fields(&LOGGING), "", "What the gateway writes to stderr."),
        key("audit", Shape::Fields(&AUDIT), "", "Where each call, refusal, reload, start and stop is written down."),
        key("telemetry", Shape::Fields(&TELEMETRY), "", "Where traces of calls go."),
        key("cleanup", Shape::Fields(&CLEANUP), "", "What becomes of gateways that have lost their client."),
        key("daemon", Shape::Fields(&DAEMON), "", "The gateway that `hangar connect` starts."),
    ],
};

pub(super) static RELOAD: Section = Section {
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

pub(super) static LOGGING: Section = Section {
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

pub(super) static CLEANUP: Section = Section {
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

pub(super) static DAEMON: Section = Section {
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
