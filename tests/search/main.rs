//! Few tokens: how clients get tools (`server.expose`, `server.clients`), and how well those are found that are not listed.

#[path = "../support/search/mod.rs"]
mod catalogue;
#[path = "../support/gateway.rs"]
mod gateway;

mod bytes;
mod expose;
mod found;
mod modern;
mod restart;
mod rules;
