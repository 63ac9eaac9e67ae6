//! Running other programs from the project's root, with the command line printed first.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Why a task failed, one sentence.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

/// Fails if any of these failed, and lists all failures.
pub(crate) fn all_of(done: impl IntoIterator<Item = Result<(), Failed>>) -> Result<(), Failed> {
    let failed: Vec<String> = done.into_iter().filter_map(|done| done.err().map(|Failed(why)| why)).collect();
    match failed.as_slice() {
        [] => Ok(()),
        [only] => Err(Failed(only.clone())),
        several => Err(Failed(format!("{} parts failed:\n  {}", several.len(), several.join("\n  ")))),
    }
}

/// Prints a line; a closed pipe is no error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs a program; fails unless it exits with 0.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), Failed> {
    run_in(root(), program, arguments)
}

/// Like [`run`], in this folder.
pub(crate) fn run_in(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), Failed> {
    ended(Command::new(program).current_dir(folder), program, arguments)
}

/// Like [`run`], with these environment variables.
pub(crate) fn run_with(variables: &[(&str, &str)], program: &str, arguments: &[&str]) -> Result<(), Failed> {
    ended(Command::new(program).current_dir(root()).envs(variables.iter().copied()), program, arguments)
}

/// Like [`run`], but prints the output when the program has ended: for programs that run in parallel.
pub(crate) fn run_then_show(program: &str, arguments: &[&str]) -> Result<(), Failed> {
    run_in_then_show(root(), program, arguments)
}

/// Like [`run_then_show`], in this folder.
pub(crate) fn run_in_then_show(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), Failed> {
    let command = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).current_dir(folder).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failed(format!("`{program}` can't be run: {error}")))?;
    let [printed, said] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    say(&format!("$ {command}\n{printed}{said}"));
    if output.status.success() { Ok(()) } else { Err(Failed(format!("`{command}` ended with {}", output.status))) }
}

fn ended(command: &mut Command, program: &str, arguments: &[&str]) -> Result<(), Failed> {
    say(&format!("$ {program} {}", arguments.join(" ")));
    match command.args(arguments).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("`{program} {}` ended with {status}", arguments.join(" ")))),
        Err(error) => Err(Failed(format!("`{program}` can't be run: {error}"))),
    }
}

/// The cargo that built this program.
const CARGO: &str = match option_env!("CARGO") {
    Some(cargo) => cargo,
    None => "cargo",
};

/// Runs cargo.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), Failed> {
    run(CARGO, arguments)
}

/// The variable that names a program which compiles the workspace in place of rustc.
pub(crate) const WRAPPER: &str = "RUSTC_WORKSPACE_WRAPPER";

/// Installs a program of others, compiled as they wrote it.
pub(crate) fn install(program: &str) -> Result<(), Failed> {
    // Unoptimised: it builds in half the time and runs in a second either way.
    let arguments = ["install", "--locked", "--debug", program];
    ended(Command::new(CARGO).env_remove(WRAPPER), CARGO, &arguments)
}

/// Builds every program and test; no benchmarks, because cargo would run each as a test, in full. Always the whole workspace: for a
/// single package cargo selects other features of its dependencies and would build them a second time.
pub(crate) fn build() -> Result<(), Failed> {
    cargo(&["test", "--workspace", "--tests", "--no-run"])
}

/// Regenerates parts of documents; built with the whole workspace too.
pub(crate) fn documents() -> Result<(), Failed> {
    cargo(&["build", "--quiet", "--workspace", "--example", "documents"])?;
    run("target/debug/examples/documents", &[])
}

/// Fails unless there is the browser that tests and pictures need.
pub(crate) fn needs_chromium(what: &str) -> Result<(), Failed> {
    if exists("chromium", &["--version"]) {
        return Ok(());
    }
    Err(Failed(format!("{what} Chromium, which draws pages: `apt-get install chromium`")))
}

/// Whether a program exists and runs.
pub(crate) fn exists(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
