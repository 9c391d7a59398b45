//! The command line as a shell sees it: the shipped binary, its two streams, its exit codes.
//!
//! `alone` needs no gateway; everything in `running` starts real ones with `hangar serve`.

mod alone;
mod groups;
mod lifecycle;
mod rig;
mod running;
