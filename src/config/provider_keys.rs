//! Mappings in a provider: how it is stopped, what of it is offered, what its container may use, when it is left alone. A part
//! of the one table of keys.

use super::keys::{ABOVE_ZERO, GLOB, MAX_COUNT, Section, Shape, key, list};

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

pub(super) static PROVIDER_BREAKER: Section = Section {
    id: "provider_circuit_breaker",
    about: "When calls of a provider that does not answer are refused at once, and for how long.",
    selector: None,
    keys: &[
        key(
            "failure_threshold",
            Shape::Whole { min: 0, max: MAX_COUNT },
            "5",
            "So many calls in a row that failed for the provider's fault open it; 0 = never.",
        ),
        key(
            "reset_timeout_s",
            Shape::Seconds { min: ABOVE_ZERO },
            "30",
            "Seconds that it refuses calls before it lets one trial call pass.",
        ),
    ],
};
