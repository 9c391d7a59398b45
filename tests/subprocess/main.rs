//! A subprocess provider through the library's own door: real processes, real pipes, the shipped binary as the shim.

mod ending;
mod environment;
mod rig;
mod streams;
mod survivors;
