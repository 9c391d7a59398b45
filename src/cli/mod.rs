//! The command line: one file per command group. The only place that may print to stdout.
//!
//! `args` says what may be typed, `exit` what a command can end with, `output` writes results. `validate` needs no gateway, `connect` is one client of one;
//! `reload`, `status` and `tools` talk to running ones, which `discover` finds and `admin` speaks HTTP to; `lifecycle` signals
//! them.

mod admin;
mod args;
pub mod connect;
pub mod demo_server;
mod discover;
mod doctor;
mod exit;
mod groups;
mod lifecycle;
mod loading;
mod output;
mod problems;
mod reload;
mod status;
mod tools;
mod validate;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};

use args::{Args, Command};
use exit::{Exit, Failure};
use output::Out;

use crate::{
    app::{self, ServeOptions},
    telemetry::build,
};

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(answer) => {
            // Help and version come this way too. A reader that is gone needs no answer.
            if answer.kind() == ErrorKind::DisplayVersion
                && std::env::args_os().any(|word| word == "--verbose" || word == "-v")
            {
                let _ = Out::new(false).write(build::long().as_bytes());
            } else {
                let _ = answer.print();
            }
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let outcome = match args.command {
        Command::Serve(typed) => return serve(typed.into()),
        Command::Connect { config, timeout } => {
            let (config, dotenv_path) = (config.as_deref(), config.dotenv_path());
            return connect::run(&connect::Typed { config, dotenv_path, timeout });
        }
        Command::DemoServer { sets } => return demo_server::run(&sets),
        Command::Validate { config, json } => {
            validate::validate(config.as_deref(), config.dotenv_path(), &mut Out::new(json.json))
        }
        Command::Schema => validate::schema(&mut Out::new(true)),
        Command::Diff { gateway, json } => on_runtime(reload::diff(gateway, &mut Out::new(json.json))),
        Command::Reload { no_graceful, verify, gateway, json } => {
            on_runtime(reload::reload(gateway, !no_graceful, verify, &mut Out::new(json.json)))
        }
        Command::Status { gateway, json } => on_runtime(status::status(gateway, &mut Out::new(json.json))),
        Command::Restart { gateway, json } => on_runtime(lifecycle::restart(gateway, &mut Out::new(json.json))),
        Command::Stop { gateway, json } => on_runtime(lifecycle::stop(gateway, &mut Out::new(json.json))),
        Command::List { gateway, json } => on_runtime(status::list(gateway, &mut Out::new(json.json))),
        Command::Load { provider, gateway, json } => {
            on_runtime(loading::run(gateway, &provider, loading::Way::Load, &mut Out::new(json.json)))
        }
        Command::Unload { provider, gateway, json } => {
            on_runtime(loading::run(gateway, &provider, loading::Way::Unload, &mut Out::new(json.json)))
        }
        Command::Tools { provider, gateway, json } => {
            on_runtime(tools::tools(gateway, provider.as_deref(), &mut Out::new(json.json)))
        }
        Command::Doctor(typed) => {
            let json = typed.json.json;
            on_runtime(doctor::doctor(typed, &mut Out::new(json)))
        }
        Command::Call(call) => {
            let json = call.json.json;
            on_runtime(tools::call(call, &mut Out::new(json)))
        }
    };
    let exit = outcome.unwrap_or_else(|error| {
        output::complain(&error);
        exit_of(&error)
    });
    exit.into()
}

/// The gateway's own life; it tells its errors itself.
fn serve(options: ServeOptions) -> ExitCode {
    // Before anything slow: a SIGHUP that comes while the gateway starts must not kill it.
    if let Err(error) = app::signals::catch() {
        output::complain(&anyhow::anyhow!("signals cannot be caught: {error}"));
        return Exit::Internal.into();
    }
    app::run(options)
}

/// Commands that talk to a gateway wait for sockets, on this thread.
fn on_runtime(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// One gateway or provider of several has had its turn: when it failed that is told, and the others follow.
fn settle(outcome: anyhow::Result<Exit>, one_of_several: bool) -> anyhow::Result<Exit> {
    match outcome {
        Err(error) if one_of_several => {
            output::complain(&error);
            Ok(exit_of(&error))
        }
        outcome => outcome,
    }
}

fn exit_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failure>().map_or(Exit::Internal, |failure| failure.exit)
}
