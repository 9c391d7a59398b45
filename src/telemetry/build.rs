//! What this binary is: its version, and what `build.rs` found out about its making.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of git, `-dirty` behind it when the tree was not that of the commit; `unknown` when it was built outside a repository.
pub const COMMIT: &str = env!("HANGAR_BUILD_COMMIT");
/// RFC 3339.
pub const DATE: &str = env!("HANGAR_BUILD_DATE");

/// For `hangar --version --verbose`.
pub fn long() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("hangar {VERSION}\ncommit: {COMMIT}\nbuilt: {DATE}\ntarget: {arch}-{os}\n")
}
