//! What is checked of the text and the dependencies, without running anything of ours.

use crate::{
    sbom,
    shell::{Failed, cargo, exists, say},
};

/// Format, lints, documentation, licences and sources of dependencies, and the list of them.
pub(crate) fn run() -> Result<(), Failed> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    if !exists("cargo", &["deny", "--version"]) {
        say("cargo-deny is missing: it is installed now, which takes some minutes");
        cargo(&["install", "--locked", "cargo-deny"])?;
    }
    // Advisories need their database from the network; `cargo deny check advisories` fetches it where there is one.
    cargo(&["deny", "check", "bans", "licenses", "sources"])?;
    sbom::run()
}
