//! The keys of `groups:`, a part of the one table of keys.

use super::{
    keys::{ABOVE_ZERO, MAX_COUNT, Section, Shape, key, word},
    rules,
};

pub(super) static GROUP: Section = Section {
    id: "group",
    about: "A name that stands for several providers of the same kind.",
    selector: None,
    keys: &[
        key(
            "strategy",
            Shape::Choice(&[
                word("round_robin"),
                word("weighted_round_robin"),
                word("least_connections"),
                word("random"),
                word("priority"),
            ]),
            "\"round_robin\"",
            "Which member gets the next call.",
        ),
        key(
            "members",
            Shape::List { of: &Shape::Fields(&MEMBER), filled: true },
            "",
            "The providers that it stands for, in the order in which they are taken.",
        )
        .need(&[""]),
        key(
            "min_healthy",
            Shape::Whole { min: 0, max: MAX_COUNT },
            "1",
            "With fewer healthy members calls are refused; 0 = never.",
        ),
        key("hide_members", Shape::Flag, "false", "`true` leaves the members' own tools out of the lists."),
        key("description", Shape::Text(&rules::ANY), "", "What the group is for; shown to people and models.")
            .nullable(),
        key("health", Shape::Fields(&HEALTH), "{}", "When a member is taken out of turn, and when it is back."),
        key("circuit_breaker", Shape::Fields(&BREAKER), "{}", "When the whole group refuses calls, and for how long."),
    ],
};

pub(super) static MEMBER: Section = Section {
    id: "member",
    about: "One member of a group.",
    selector: None,
    keys: &[
        key("id", Shape::Text(&rules::PROVIDER_NAME), "", "The provider's name.").need(&[""]),
        key(
            "weight",
            Shape::Whole { min: 1, max: MAX_COUNT },
            "1",
            "Its share (`weighted_round_robin`, `least_connections`, `random`).",
        ),
        key("priority", Shape::Whole { min: 0, max: MAX_COUNT }, "1", "The least is taken first (`priority`)."),
    ],
};

pub(super) static HEALTH: Section = Section {
    id: "health",
    about: "Calls of a group that get no answer from a member: no start, no connection, an end, a timeout.",
    selector: None,
    keys: &[
        key(
            "unhealthy_threshold",
            Shape::Whole { min: 1, max: MAX_COUNT },
            "2",
            "So many in a row take the member out of turn.",
        ),
        key(
            "healthy_threshold",
            Shape::Whole { min: 1, max: MAX_COUNT },
            "1",
            "So many answered trial calls in a row bring it back.",
        ),
    ],
};

pub(super) static BREAKER: Section = Section {
    id: "circuit_breaker",
    about: "The breaker of a group, and the time of its members' breakers.",
    selector: None,
    keys: &[
        key(
            "failure_threshold",
            Shape::Whole { min: 1, max: MAX_COUNT },
            "10",
            "So many calls of the group in a row that get no answer from any member open it.",
        ),
        key(
            "reset_timeout_s",
            Shape::Seconds { min: ABOVE_ZERO },
            "60",
            "Seconds that an open breaker, the group's or a member's, refuses before it lets one trial call pass.",
        ),
    ],
};
