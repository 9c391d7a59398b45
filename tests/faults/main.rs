//! The fault matrix: one provider fails in one way, two beside it are called all the time. Each test is a row of
//! `docs/reliability.md`, which `make faults` writes anew from what a run has measured.

#[path = "../support/chaos_http.rs"]
mod chaos_http;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/remote_process.rs"]
mod remote_process;

mod calls;
mod floods;
mod load;
mod machine;
mod memory;
mod page;
mod remote;
mod row;
mod starts;
mod streams;
