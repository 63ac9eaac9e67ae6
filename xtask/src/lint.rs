//! Static checks of sources and dependencies.

use crate::{
    sbom,
    shell::{self, Failed, cargo, exists, say},
    steps::{Steps, beside},
    tidy, web,
};

/// Format, lints, documentation, licences and sources of dependencies, and the list of them.
pub(crate) fn run() -> Result<(), Failed> {
    let mut steps = Steps::default();
    steps.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    steps.run("tidy", tidy::run)?;
    steps.run("admin web: client of the API", web::check_client)?;
    // Before the server, which embeds it.
    steps.run("admin web: build", web::build)?;
    // npm waits for the network and the disk, and clippy for one long crate after the other.
    let web_checked = |steps: &mut Steps| steps.run("admin web: types, texts, logic, licences", web::check);
    beside(web_checked, || steps.run("clippy", clippy))?;
    if !exists("cargo", &["deny", "--version"]) {
        say("installing cargo-deny, which takes some minutes");
        steps.run("install cargo-deny", || shell::install("cargo-deny"))?;
    }
    // Advisories need their database from the network; `cargo deny check advisories` fetches it where there is one.
    steps.run("cargo deny", || cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    steps.run("sbom", sbom::run)
}

/// Lints every target. Where a wrapper compiles the workspace through clippy anyway, as `.ci/rustc` does, building everything lints it.
#[expect(clippy::disallowed_methods, reason = "how the workspace is compiled is set outside")]
fn clippy() -> Result<(), Failed> {
    if std::env::var_os(shell::WRAPPER).is_some() {
        return cargo(&["test", "--workspace", "--all-targets", "--no-run"]);
    }
    cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])
}
