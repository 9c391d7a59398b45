//! What clients see: the fronts, their sessions, and what each method does.

mod batch;
mod clients;
mod connect;
mod declared;
mod dispatch;
mod exposed;
pub mod http;
mod instructions;
mod lists;
mod modern;
mod session;
mod sessions;
pub mod stdio;
mod tasks;
mod vendor;
mod waiting;
mod wishes;

/// How far the gateway's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    #[default]
    Serving,
    /// No new connections. On those that there are, late calls get their error.
    Refusing,
    /// Connections end with the answers they owe.
    Leaving,
}

pub use clients::ConnectClients;
pub use connect::{Carried, CarriedRecord, ConnectFront};
pub use dispatch::Gateway;
pub use lists::{News, keep_clients_informed};
pub use session::{Greeting, LEVELS, Session, SessionRecord};
pub use sessions::{SessionKey, Sessions};
pub use waiting::Waiting;
