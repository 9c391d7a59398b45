//! Between the protocol eras: a call that needs its client's input in the middle, for a client that can only be asked at the
//! end.
//!
//! A legacy upstream asks while the call runs (`elicitation/create`, `sampling/createMessage`). A modern client is answered
//! `input_required` instead; the call is parked with what was asked, and the client's next request, which bears the answers and
//! our `requestState`, goes on with it. `call` is such a call, `parking` keeps those that wait, `seal` makes their states.
//!
//! A modern upstream asks in its answer. A legacy client is asked for it while its call runs: `rounds`.
//!
//! Every call comes through here, so here it is written down: `account`.

mod account;
mod call;
mod parking;
mod rounds;
mod seal;

pub use account::{Account, deliver, deliver_unbridged};
pub use call::{Ask, BridgedCall, BridgedClient, Step};
pub use parking::{NotResumed, Parking};
pub use seal::PREFIX as STATE_PREFIX;
#[cfg(feature = "fuzzing")]
pub use seal::fuzz::request_state;
