//! What becomes of a provider that fails, of its callers, and of everybody else's: through the shipped binary.

#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/remote_process.rs"]
mod remote_process;

mod breaker;
mod crashes;
mod errors;
mod health;
