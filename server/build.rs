//! Lists the files of the admin web that `cargo xtask web` has built, for `src/web/`; none if it was not built.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    // Asked for when this runs: a build folder that checkouts share has one program of this file for all of them.
    let built = given_by_cargo("CARGO_MANIFEST_DIR")?.join("../admin-web/dist");
    let mut files = Vec::new();
    // Of a path that is missing, cargo would run this again each time, and compile the server after it.
    if built.is_dir() {
        println!("cargo::rerun-if-changed={}", built.display());
        list(&built, &mut files)?;
    }
    println!("cargo::rerun-if-changed=build.rs");
    files.sort();
    let mut table = String::from("&[\n");
    for file in files.iter().filter(|file| is_served(file)) {
        let Ok(name) = file.strip_prefix(&built) else { continue };
        let compressed = |ending: &str| {
            let path = PathBuf::from(format!("{}.{ending}", file.display()));
            if files.contains(&path) {
                format!("Some(include_bytes!({:?}))", path.to_string_lossy())
            } else {
                "None".to_owned()
            }
        };
        let _ = writeln!(
            table,
            "    Built {{ path: {:?}, plain: include_bytes!({:?}), gzip: {}, brotli: {} }},",
            format!("/{}", name.display()),
            file.to_string_lossy(),
            compressed("gz"),
            compressed("br"),
        ); // writing to a text does not fail
    }
    table.push(']');
    std::fs::write(given_by_cargo("OUT_DIR")?.join("web_files.rs"), table)
}

#[expect(clippy::disallowed_methods, reason = "the only way in which cargo says it")]
fn given_by_cargo(name: &str) -> io::Result<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(format!("cargo sets {name}")))
}

/// Whether a file is served under its own name: hidden ones are not, compressed ones in place of others.
fn is_served(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && !name.ends_with(".gz") && !name.ends_with(".br")
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
