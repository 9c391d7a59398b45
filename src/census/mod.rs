//! Who is here: the gateways of this user and what belongs to them, found by their records and by the marks that their
//! children bear. Never by a program's name.
//!
//! Looked at by a gateway that starts (`app::stale`), by `hangar_server_info` and by `hangar doctor`. Reads only; [`ending`]
//! is the one exception. Outside Linux there are the records, and of processes nothing is known.

mod client;
mod containers;
mod ending;
mod gateways;
mod processes;

pub use client::{Ask, Client, told_by};
pub use containers::Containers;
pub use ending::{Ended, end_gateway, end_left_over};
pub use gateways::{Gateway, Held, gateways};
pub use processes::{Belongs, Member, Role, marked, of_gateway};
