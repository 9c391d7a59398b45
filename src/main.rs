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
    if args.first().is_some_and(|first| first == "serve") {
        let _ = hangar::app::signals::catch();
        let config = args.iter().position(|a| a == "--config").and_then(|at| args.get(at + 1)).map(Into::into);
        let http = args.iter().any(|a| a == "--http");
        return hangar::app::run(hangar::app::ServeOptions { config, http, port: Some(0), ..Default::default() });
    }
    match args[1..].iter().map(|name| Set::from_str(name, false)).collect::<Result<Vec<_>, _>>() {
        Ok(sets) => demo_server::run(&sets),
        Err(error) => {
            eprintln!("hangar demo-server: {error}; there are: math, text, clock");
            ExitCode::from(2)
        }
    }
}
