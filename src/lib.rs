//! hangar: many upstream MCP servers ("providers") behind one endpoint, reloaded while clients stay connected.
//!
//! The map of the house, top floor first; a module imports only from floors below it (`tests/architecture.rs`):
//!
//! | floor | modules |
//! |---|---|
//! | 7 | [`cli`] the command line |
//! | 6 | [`app`] settings -> running gateway -> drained gateway |
//! | 5 | [`server`] what clients see · [`control`] the `hangar_*` tools |
//! | 4 | [`reload`] a config change · [`bridge`] between the protocol eras |
//! | 3 | [`registry`] the current snapshot, names and routes |
//! | 2 | [`provider`] one provider's life · [`census`] gateways and their processes on this machine |
//! | 1 | [`transport`] one upstream connection · [`telemetry`] events, logs, metrics |
//! | 0 | [`config`] the file · [`wire`] the bytes · [`runtime_dir`] where a running gateway is found · [`host`] processes of this machine · [`passing`] descriptors on their way |

#![cfg_attr(
    all(test, feature = "shuttle"),
    allow(dead_code, unused_imports, reason = "there an instance is a number, and nothing is said to it")
)]

pub mod app;
pub mod bridge;
pub mod census;
pub mod cli;
pub mod config;
pub mod control;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
pub mod passing;
pub mod provider;
pub mod registry;
pub mod reload;
pub mod runtime_dir;
pub mod server;
pub mod telemetry;
pub mod transport;
pub mod wire;
