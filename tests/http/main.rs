//! The HTTP front, black box: the binary, real providers, raw bytes over loopback.

mod answers;
mod api;
mod connections;
mod late;
mod refusals;
#[path = "../support/remote_process.rs"]
mod remote_process;
mod rig;
mod sessions;
mod streams;
