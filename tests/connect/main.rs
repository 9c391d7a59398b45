//! `hangar connect` as a client sees it: the shipped binary between a raw JSON client and the gateway that it finds or starts.

#[path = "../support/gateway.rs"]
mod gateway;

mod losing;
mod refusals;
mod rig;
mod sharing;
mod wire;
