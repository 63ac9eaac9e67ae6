//! The structure of the project in numbers. What is certainly wrong fails: a file without a first doc line, a path in a document
//! that does not exist, an unused dependency, a retired word, an example that no test runs, a cycle of the server's modules, an
//! import of a layer above, or a module that the map in ARCHITECTURE.md does not name. What is a matter of judgement is only printed.

mod constants;
mod cycles;
mod documents;
mod examples;
mod layers;
mod map;
mod sizes;
mod unused;
mod words;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::shell::{Failed, root, say};

const CRATES: [&str; 6] = ["protocol", "server", "simulator", "reports", "benches", "xtask"];

/// A file of the project.
pub(crate) struct File {
    /// From the root.
    path: String,
    text: String,
}

/// Prints the numbers; fails for what is certainly wrong, and lists all of it.
pub(crate) fn run() -> Result<(), Failed> {
    let files = files()?;
    let rust: Vec<&File> = files.iter().filter(|file| is_rust(&file.path)).collect();
    sizes::show(&rust);
    constants::show(&rust);
    cycles::show(&rust);
    let server = cycles::uses("server", &rust);
    let wrong: Vec<String> = [
        sizes::nameless(&rust),
        documents::broken(&files),
        examples::unchecked(&rust),
        unused::dependencies(&files),
        words::retired(&files),
        cycles::broken(&server),
        layers::broken(&server),
        map::broken(&files),
    ]
    .concat();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failed(format!("{} problems:\n  {}", wrong.len(), wrong.join("\n  "))))
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Every file that git tracks or would add.
fn files() -> Result<Vec<File>, Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed(format!("git ls-files: {error}"));
    let listed = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|error| failed(&error))?;
    if !listed.status.success() {
        return Err(failed(&String::from_utf8_lossy(&listed.stderr)));
    }
    let paths: Vec<PathBuf> = String::from_utf8_lossy(&listed.stdout).lines().map(PathBuf::from).collect();
    let read = |path: &PathBuf| {
        // Pictures and fonts count as empty.
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        File { path: path.to_string_lossy().into_owned(), text }
    };
    Ok(paths.iter().filter(|path| root().join(path).is_file()).map(read).collect())
}

/// A table of at most ten rows, the largest first.
fn show_largest(title: &str, mut rows: Vec<(usize, String)>) {
    rows.sort_by(|one, other| other.cmp(one));
    say(&format!("{title}: {}", rows.len()));
    for (count, what) in rows.iter().take(10) {
        say(&format!("  {count:>6}  {what}"));
    }
}
