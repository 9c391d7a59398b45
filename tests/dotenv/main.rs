//! Variables from a `.env` file, black box: the binary, real providers, a real engine.

mod effect;
#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/gateway.rs"]
mod gateway;
mod restart;
mod rig;
mod which_file;
