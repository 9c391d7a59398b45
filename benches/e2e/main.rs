//! `cargo bench --bench e2e`: what the gateway costs, measured from outside on the release binary.
//!
//! `load` is the raw client, `peers` the processes under test, `cases` and `scale` the measurements, `report` the table. Everything
//! runs on loopback and pipes. `cargo test --bench e2e`, or `BENCH_SMOKE=1`, only proves that it all works.
//! `cargo bench --bench e2e -- cold` runs the cases with "cold" in their names. docs/benchmarks.md says what is measured.

mod cases;
mod load;
mod peers;
mod report;
mod scale;
mod storm;

use std::{io, time::Instant};

use report::Report;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Rounds of each comparison; their median counts.
    rounds: usize,
    /// Calls per round, one after the other.
    calls: usize,
    /// Calls per round with many in flight.
    crowd: usize,
    /// Calls per round with a result of 1 MB.
    big: usize,
    /// Cold starts.
    starts: usize,
    /// Sessions that are open and say nothing.
    sessions: usize,
    /// Lists per round.
    lists: usize,
    /// Seconds of each phase of load with and without reloads.
    phase: f64,
}

const FULL: Effort =
    Effort { rounds: 5, calls: 4000, crowd: 8000, big: 60, starts: 15, sessions: 10_000, lists: 200, phase: 3.0 };
const SMOKE: Effort =
    Effort { rounds: 1, calls: 100, crowd: 256, big: 3, starts: 2, sessions: 50, lists: 3, phase: 0.4 };

fn main() -> io::Result<()> {
    // `cargo bench` says `--bench`; `cargo test` does not, and builds without optimisation.
    let asked = std::env::var_os("BENCH_SMOKE").is_some_and(|value| value != "0");
    let smoke = asked || !std::env::args().any(|argument| argument == "--bench");
    let effort = if smoke { SMOKE } else { FULL };
    let began = Instant::now();
    let mut report = Report::new(smoke);
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, case) in cases::ALL.into_iter().chain(scale::ALL).chain(storm::ALL) {
        if only.is_empty() || only.iter().any(|part| name.contains(part.as_str())) {
            case(&effort, &mut report)?;
        }
    }
    report.finish(began.elapsed())
}
