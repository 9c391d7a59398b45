//! What a binary can say about itself beyond its version: the commit it was built from, and when.
//!
//! Runs again when the sources or the commit change, not at every cargo call. Without git, without a repository, or unpacked
//! inside somebody else's, the commit is `unknown`.

use std::{
    env,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // A path that is not there would make every call run this again.
    let mut watched = ["build.rs", "src", "Cargo.toml", "Cargo.lock"].map(str::to_owned).to_vec();
    let commit = own_repository().then(commit).flatten();
    if commit.is_some() {
        let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]);
        let names = ["HEAD".to_owned(), "packed-refs".to_owned()].into_iter().chain(branch);
        watched.extend(names.filter_map(|name| git(&["rev-parse", "--git-path", &name])));
    }
    for path in watched.iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-env=HANGAR_BUILD_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
    println!("cargo::rustc-env=HANGAR_BUILD_DATE={}", date());
}

/// The repository is this package's, and not one that it was only unpacked in.
fn own_repository() -> bool {
    let resolved = |path: &str| Path::new(path).canonicalize().ok();
    let package = env::var("CARGO_MANIFEST_DIR").ok();
    let root = git(&["rev-parse", "--show-toplevel"]);
    matches!((root.as_deref().and_then(resolved), package.as_deref().and_then(resolved)), (Some(a), Some(b)) if a == b)
}

/// `1a2b3c4d5e6f`, with `-dirty` behind it when tracked files differ from it.
fn commit() -> Option<String> {
    git(&["describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    // Reading must not take the index lock from somebody who works here.
    let output = Command::new("git").env("GIT_OPTIONAL_LOCKS", "0").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// RFC 3339, UTC. `SOURCE_DATE_EPOCH` makes it the same for everybody who builds these sources.
fn date() -> String {
    let told = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds: u64 = told.unwrap_or_else(now);
    // Days since 0000-03-01, in years that begin in March, so that a leap day is the last of its year.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month < 3);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
