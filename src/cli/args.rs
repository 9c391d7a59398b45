//! What may be typed. The help texts here are the reference; the README repeats the list.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args as ClapArgs, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::demo_server::Set;
use crate::{app::ServeOptions, config::LogLevel};

const EXIT_CODES: &str = "\
Exit codes: 0 ok; 1 unhealthy, a tool error or a difference found; 2 usage; 3 configuration invalid;
4 no running gateway reached; 5 refused; 70 internal error";

/// An MCP gateway: many upstream MCP servers behind one endpoint, reloaded while clients stay connected.
#[derive(Debug, Parser)]
#[command(name = "hangar", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    /// With --version: the commit and the date of the build, too
    #[arg(long, short, requires = "version")]
    verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway: MCP on stdin and stdout, or over HTTP with --http
    Serve(Serve),
    /// Connect a stdio client to the one gateway that all clients of this configuration share; starts it when none runs
    Connect {
        #[command(flatten)]
        config: ConfigFile,
        /// Longest to wait for the gateway to start and to answer
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
        timeout: Duration,
    },
    /// Check a configuration file and report every problem in it
    #[command(visible_alias = "check")]
    Validate {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        json: Json,
    },
    /// Show what a reload would change; exits 1 when it would change something
    Diff {
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// Make the running gateway read its configuration again, and report what changed
    Reload {
        /// Do not wait for calls in flight of removed and updated providers: each gets one error
        #[arg(long)]
        no_graceful: bool,
        /// Start every added and updated provider first; refuse the reload when one fails
        #[arg(long)]
        verify: bool,
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// Show the running gateway; exits 1 when it is unhealthy
    Status {
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// Restart the running gateway in place: same pid, same sockets, the program and configuration that are on the disk now
    Restart {
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// Stop the running gateway, and wait until it has
    Stop {
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// List the providers and their states
    List {
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// Put a provider in service that the configuration keeps in its catalog or has disabled
    Load {
        /// Its name in the configuration
        provider: String,
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// Take a loaded provider out of service; calls in flight finish
    Unload {
        /// Its name in the configuration
        provider: String,
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// List the tools of one provider, or of all
    Tools {
        /// Only of this provider
        provider: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
        #[command(flatten)]
        json: Json,
    },
    /// Call a tool of a provider and print its result; exits 1 when the tool answers with an error
    Call(Call),
    /// Look for what stands in the way of a gateway here, and for what gateways have left behind; exits 1 when something is
    Doctor(Doctor),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Be a small MCP server on stdio, to try a gateway with
    DemoServer {
        /// Sets of tools to offer; all when none is named
        #[arg(value_name = "SET")]
        sets: Vec<Set>,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Serve {
    /// Serve streamable HTTP at /mcp instead of stdio
    #[arg(long)]
    http: bool,
    /// Serve the clients of `hangar connect`, and end when nobody is connected for daemon.idle_exit_s
    #[arg(long, conflicts_with = "http")]
    daemon: bool,
    /// Address to listen on; wins over server.host of the file
    #[arg(long, requires = "http")]
    host: Option<String>,
    /// Port to listen on, 0 for any free one; wins over server.port of the file
    #[arg(long, requires = "http")]
    port: Option<u16>,
    #[command(flatten)]
    config: ConfigFile,
    /// Least important log lines to write; wins over logging.level of the file
    #[arg(long, value_name = "LEVEL", value_parser = log_level())]
    log_level: Option<LogLevel>,
    /// Write log lines as JSON
    #[arg(long)]
    json_logs: bool,
    /// Keep a PID file there [default with --http: in the runtime directory; without: none]
    #[arg(long, value_name = "FILE", env = "HANGAR_PID_FILE")]
    pid_file: Option<PathBuf>,
    /// Listen on an address that is not loopback although nothing authenticates clients
    #[arg(long, requires = "http")]
    insecure_no_auth: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ConfigFile {
    /// The configuration file [default: $MCP_CONFIG, else ./config.yaml, else $XDG_CONFIG_HOME/hangar/config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File of variables for ${VAR} and inherit_env [default: $HANGAR_DOTENV_PATH, else .env beside the configuration, else ./.env]
    #[arg(long, value_name = "FILE")]
    dotenv_path: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Json {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which running gateway; without any of these the ones of the configuration file found in the usual places.
#[derive(Debug, ClapArgs)]
pub(super) struct Gateway {
    /// The gateway at this address, as http://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with_all = ["socket", "config"])]
    pub url: Option<String>,
    /// The gateway that has this admin socket
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub socket: Option<PathBuf>,
    /// The gateway that holds this PID file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "socket", "config"])]
    pub pid_file: Option<PathBuf>,
    /// The gateways that run this configuration file [default: as for `serve`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Call {
    /// Name of the provider
    pub provider: String,
    /// The tool, by the provider's own name for it
    pub tool: String,
    /// Arguments as one JSON object; `-` reads it from stdin
    #[arg(value_name = "JSON", default_value = "{}", hide_default_value = true)]
    pub arguments: String,
    /// Longest the call may take, in seconds [default: call_timeout_s of the provider]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub gateway: Gateway,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Doctor {
    #[command(flatten)]
    pub config: ConfigFile,
    /// List every process and container that belongs to a gateway of this user, live or dead (gateways: with --config only
    /// those of that file)
    #[arg(long)]
    pub processes: bool,
    /// End those that a dead gateway left over, and gateways that have lost their client
    #[arg(long, requires = "processes")]
    pub end: bool,
    /// Do not ask before ending them
    #[arg(long, requires = "end")]
    pub yes: bool,
    #[command(flatten)]
    pub json: Json,
}

impl ConfigFile {
    pub(super) fn as_deref(&self) -> Option<&std::path::Path> {
        self.config.as_deref()
    }

    pub(super) fn dotenv_path(&self) -> Option<&std::path::Path> {
        self.dotenv_path.as_deref()
    }
}

impl From<Serve> for ServeOptions {
    fn from(serve: Serve) -> Self {
        let Serve { http, daemon, host, port, config, log_level, json_logs, pid_file, insecure_no_auth } = serve;
        let ConfigFile { config, dotenv_path } = config;
        ServeOptions { config, dotenv_path, http, daemon, host, port, log_level, json_logs, insecure_no_auth, pid_file }
    }
}

fn log_level() -> impl TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"]).map(|word| match word.as_str() {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a number of seconds greater than 0 is expected".to_owned();
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if number > 0.0 { Duration::try_from_secs_f64(number).map_err(|_| wrong()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn serve_says_what_was_typed() {
        let typed = "hangar serve --http --host ::1 --port 0 --config c.yaml --log-level debug --json-logs";
        let Command::Serve(serve) = Args::try_parse_from(typed.split(' ')).unwrap().command else { panic!() };
        let options = ServeOptions::from(serve);
        assert!(options.http && options.json_logs && !options.insecure_no_auth);
        assert_eq!((options.host.as_deref(), options.port), (Some("::1"), Some(0)));
        assert_eq!((options.config, options.log_level), (Some("c.yaml".into()), Some(LogLevel::Debug)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for typed in [
            "hangar serve --port 80",
            "hangar serve --http --daemon",
            "hangar connect --http",
            "hangar connect --timeout 0",
            "hangar serve --log-level loud",
            "hangar status --url http://x --socket y",
            "hangar status --url http://x --config y",
            "hangar call p",
            "hangar call p t {} --timeout 0",
            "hangar call p t {} --timeout nan",
            "hangar demo-server maths",
            "hangar help",
        ] {
            let error = Args::try_parse_from(typed.split(' ')).expect_err(typed);
            assert_eq!(error.exit_code(), 2, "{typed}");
        }
    }
}
