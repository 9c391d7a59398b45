//! Process life: a provider's shim when started as one, else the command line.

use std::{panic, process::ExitCode};

/// "Internal error" of `sysexits.h`; what was wrong is on stderr already.
const INTERNAL: u8 = 70;

fn main() -> ExitCode {
    // Before any runtime, thread or logger: a shim is single-threaded and small.
    if let Some(code) = hangar::transport::shim::entry() {
        return code;
    }
<<<<<<< HEAD
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
=======
    panic::catch_unwind(hangar::cli::run).unwrap_or(ExitCode::from(INTERNAL))
>>>>>>> 167cfe3 (The command line: serve, validate, diff, reload, status, list, tools, call, schema, demo-server; the runtime directory)
}
