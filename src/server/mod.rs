//! What clients see: the fronts, their sessions, and what each method does.

mod batch;
mod dispatch;
pub mod http;
mod lists;
mod session;
mod sessions;
pub mod stdio;

pub use dispatch::Gateway;
pub use lists::{News, keep_clients_informed};
pub use session::{Era, Greeting, LEVELS, Session};
pub use sessions::{SessionKey, Sessions};
