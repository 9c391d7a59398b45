//! Process life: a provider's shim when started as one, else the command line.

use std::{panic, process::ExitCode};

/// "Internal error" of `sysexits.h`; what was wrong is on stderr already.
const INTERNAL: u8 = 70;

fn main() -> ExitCode {
    // Before any runtime, thread or logger: a shim or a keeper is single-threaded and small.
    if let Some(code) = small_command() {
        return code;
    }
    panic::catch_unwind(hangar::cli::run).unwrap_or(ExitCode::from(INTERNAL))
}

/// Those that start without the command line parser.
fn small_command() -> Option<ExitCode> {
    use hangar::{cli::connect, transport};
    transport::shim::entry().or_else(transport::keeper_entry).or_else(connect::launcher_entry).or_else(connect::entry)
}
