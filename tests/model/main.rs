//! Registry, slots, reloader and the lives of providers against a model of them, with real child processes: any order of reloads,
//! calls that go on meanwhile, starts, stops, crashes and idle times keeps what DESIGN section 7 promises.
//!
//! `reference` says what may happen and what has to come of it, `system` does it. A failure is shrunk to the fewest steps.
//! `HANGAR_MODEL_CASES` for more of them.

mod reference;
mod system;

use proptest::test_runner::Config;
use proptest_state_machine::prop_state_machine;

use system::System;

fn config() -> Config {
    let cases = std::env::var("HANGAR_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    // Each step of shrinking is a whole run.
    Config { cases, max_shrink_iters: 1000, failure_persistence: None, ..Config::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn any_order_of_events_keeps_what_is_promised(sequential 1..24 => System);
}
