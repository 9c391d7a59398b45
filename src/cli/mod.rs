//! The command line: one file per command group. The only place that may print to stdout.

pub mod demo_server;
