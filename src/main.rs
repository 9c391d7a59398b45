//! Process life.

use std::process::ExitCode;

use clap::ValueEnum;
use hangar::cli::demo_server::{self, Set};

fn main() -> ExitCode {
    // Before any runtime, thread or logger: a shim is single-threaded and small.
    if let Some(code) = hangar::transport::shim::entry() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_none_or(|first| first != "demo-server") {
        return ExitCode::SUCCESS;
    }
    match args[1..].iter().map(|name| Set::from_str(name, false)).collect::<Result<Vec<_>, _>>() {
        Ok(sets) => demo_server::run(&sets),
        Err(error) => {
            eprintln!("hangar demo-server: {error}; there are: math, text, clock");
            ExitCode::from(2)
        }
    }
}
