//! Static checks of sources and dependencies.

use crate::{
    sbom,
    shell::{Failed, cargo, exists, say},
    steps::{Steps, beside},
    tidy, web,
};

/// Format, lints, documentation, licences and sources of dependencies, and the list of them.
pub(crate) fn run() -> Result<(), Failed> {
    let mut steps = Steps::default();
    steps.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    steps.run("tidy", tidy::run)?;
    // npm waits for the network and the disk, and clippy for one long crate after the other.
    let web_checked = |steps: &mut Steps| steps.run("admin web: types, texts, logic, licences", web::check);
    beside(web_checked, || {
        steps.run("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
    })?;
    if !exists("cargo", &["deny", "--version"]) {
        say("installing cargo-deny, which takes some minutes");
        // Unoptimised: it builds in half the time and runs in a second either way.
        steps.run("install cargo-deny", || cargo(&["install", "--locked", "--debug", "cargo-deny"]))?;
    }
    // Advisories need their database from the network; `cargo deny check advisories` fetches it where there is one.
    steps.run("cargo deny", || cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    steps.run("sbom", sbom::run)
}
