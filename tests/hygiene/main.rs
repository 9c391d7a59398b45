//! Nothing outlives the gateway: what it started is gone however it went, wherever it ran. `make hygiene` for the long run.

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/gateway.rs"]
mod gateway;

mod kill;
mod places;
mod switch;

/// `HANGAR_STORM`: rounds of the long run.
fn rounds(otherwise: usize) -> usize {
    std::env::var("HANGAR_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

fn long_run() -> bool {
    std::env::var_os("HANGAR_STORM").is_some()
}

/// Small and the same everywhere: what it decides must be seen again when a run fails.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % sides
    }
}
