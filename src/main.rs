//! Process life: a provider's shim when started as one, else the command line.

use std::{panic, process::ExitCode};

/// "Internal error" of `sysexits.h`; what was wrong is on stderr already.
const INTERNAL: u8 = 70;

fn main() -> ExitCode {
    // Before any runtime, thread or logger: a shim or a keeper is single-threaded and small.
    if let Some(code) = hangar::transport::shim::entry().or_else(hangar::transport::keeper_entry) {
        return code;
    }
    panic::catch_unwind(hangar::cli::run).unwrap_or(ExitCode::from(INTERNAL))
}
