//! Running other programs, from the project's root, with what they are shown first.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// Why a chore failed, one sentence.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

/// Fails if any of these did, and names all that did.
pub(crate) fn all_of(done: impl IntoIterator<Item = Result<(), Failed>>) -> Result<(), Failed> {
    let failed: Vec<String> = done.into_iter().filter_map(|done| done.err().map(|Failed(why)| why)).collect();
    match failed.as_slice() {
        [] => Ok(()),
        [only] => Err(Failed(only.clone())),
        several => Err(Failed(format!("{} parts failed:\n  {}", several.len(), several.join("\n  ")))),
    }
}

/// A line for whoever watches; a closed pipe is no error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs a program; fails unless it exits with 0.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), Failed> {
    run_in(root(), program, arguments)
}

/// The same in this folder.
pub(crate) fn run_in(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), Failed> {
    ended(Command::new(program).current_dir(folder), program, arguments)
}

/// The same at the root, with these variables.
pub(crate) fn run_with(variables: &[(&str, &str)], program: &str, arguments: &[&str]) -> Result<(), Failed> {
    ended(Command::new(program).current_dir(root()).envs(variables.iter().copied()), program, arguments)
}

/// The same at the root, showing what it printed when it has ended: for what runs beside something else.
pub(crate) fn run_then_show(program: &str, arguments: &[&str]) -> Result<(), Failed> {
    let command = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).current_dir(root()).args(arguments).stdin(Stdio::null()).output();
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

/// Runs cargo, the one that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), Failed> {
    run(option_env!("CARGO").unwrap_or("cargo"), arguments)
}

/// Builds every program and test of the project; no benchmark, because cargo would run each as a test, in full. Always all of
/// them: for one package alone cargo chooses other features of what it depends on, and would build that a second time.
pub(crate) fn build() -> Result<(), Failed> {
    cargo(&["test", "--workspace", "--tests", "--no-run"])
}

/// Whether a program is there and runs.
pub(crate) fn exists(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
