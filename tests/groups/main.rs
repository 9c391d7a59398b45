//! Groups through the shipped binary: whose turn it is, what moves to another member and what never does, breakers, reload,
//! and what clients see of a group.

#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/remote_process.rs"]
mod remote_process;

mod failures;
mod offers;
mod questions;
mod reload;
mod rig;
mod turns;
