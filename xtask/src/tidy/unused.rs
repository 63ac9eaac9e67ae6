//! Unused dependencies.

use super::{CRATES, File};

/// Declared dependencies that no file of the crate uses.
pub(super) fn dependencies(files: &[File]) -> Vec<String> {
    let mut unused = Vec::new();
    for name in CRATES {
        let Some(manifest) = files.iter().find(|file| file.path == format!("{name}/Cargo.toml")) else { continue };
        let sources: Vec<&File> = files
            .iter()
            .filter(|file| file.path.starts_with(&format!("{name}/")) && super::is_rust(&file.path))
            .collect();
        for (dependency, section) in declared(&manifest.text) {
            let path = format!("{}::", dependency.replace('-', "_"));
            let attribute = format!("{}(", dependency.replace('-', "_"));
            let imported = format!("use {};", dependency.replace('-', "_"));
            let is_named = |file: &&&File| [&path, &attribute, &imported].iter().any(|text| file.text.contains(*text));
            // A use in tests does not justify a normal dependency.
            let counts = |file: &&&File| section != "dependencies" || file.path.starts_with(&format!("{name}/src/"));
            if sources.iter().filter(counts).find(is_named).is_none() {
                unused.push(format!("{name}/Cargo.toml: nothing uses `{dependency}` of [{section}]"));
            }
        }
    }
    unused
}

/// Names with the section that declares them. Optional ones are left out: some exist only to enable features of another dependency.
fn declared(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if section.ends_with("dependencies")
            && !line.contains("optional = true")
            && let Some(name) =
                line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty() && !name.starts_with('#'))
        {
            found.push((name, section));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_names_is_found() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na-b.workspace = true\nc = \"1\"\nd = \"1\"\nf = { optional = true }\n[dev-dependencies]\ne = \"1\"\n";
        let files = [
            file("server/Cargo.toml", manifest),
            file("server/src/lib.rs", "use a_b::X;\n"),
            file("server/tests/t.rs", "use d::X; use e::Y;\n"),
        ];
        assert_eq!(
            dependencies(&files),
            [
                "server/Cargo.toml: nothing uses `c` of [dependencies]",
                "server/Cargo.toml: nothing uses `d` of [dependencies]"
            ]
        );
    }
}
