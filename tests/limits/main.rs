//! Every configurable limit as a black box: one less than it, exactly it, one more. And calls that take long, and lists that
//! are not whole.

#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/remote_process.rs"]
mod remote_process;
#[allow(dead_code, reason = "the HTTP tests use the rest")]
#[path = "../http/rig.rs"]
mod rig;

mod answers;
mod batch;
mod bounds;
mod front;
mod long_work;
mod partial;
mod provider;
