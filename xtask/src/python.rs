//! Tools written in Python, each pinned and in its own virtual environment below `target/`.

use std::path::PathBuf;

use crate::shell::{self, Failed, root, say};

/// The program of a package, installed into `target/{folder}/python` if it is not there in that version.
pub(crate) fn installed(folder: &str, package: &str, program: &str) -> Result<PathBuf, Failed> {
    let environment = root().join("target").join(folder).join("python");
    let mark = environment.join(package);
    if !mark.exists() {
        say(&format!("{package} is being installed into target/{folder}/python"));
        let place = environment.to_string_lossy().into_owned();
        shell::run("python3", &["-m", "venv", "--clear", &place])?;
        shell::run(&environment.join("bin/pip").to_string_lossy(), &["install", "--quiet", package])?;
        std::fs::write(&mark, "").map_err(|error| Failed(format!("{}: {error}", mark.display())))?;
    }
    Ok(environment.join("bin").join(program))
}
