//! The maps in ARCHITECTURE.md: each top-level module of the server and of the simulator is in its map, and nothing else is.

use std::collections::BTreeSet;

use super::{File, is_rust};

/// The crates that have a map, each with the heading of the section that holds it.
const MAPS: [(&str, &str); 2] = [("server", "## The server, layer by layer"), ("simulator", "## The flow of one run")];

/// Modules that their map does not name, and names in a map that are no module.
pub(super) fn broken(files: &[File]) -> Vec<String> {
    let document = files.iter().find(|file| file.path == "ARCHITECTURE.md").map_or("", |file| file.text.as_str());
    let mut wrong = Vec::new();
    for (name, heading) in MAPS {
        let (modules, named) = (modules(name, files), named(document, heading));
        let missing = modules.difference(&named);
        wrong.extend(missing.map(|module| {
            format!("ARCHITECTURE.md: the map under `{heading}` does not name `{module}` of {name}/src")
        }));
        let unknown = named.difference(&modules);
        wrong.extend(unknown.map(|module| {
            format!("ARCHITECTURE.md: the map under `{heading}` names `{module}`, which is not in {name}/src")
        }));
    }
    wrong
}

/// The modules at the top of a crate.
fn modules<'f>(name: &str, files: &'f [File]) -> BTreeSet<&'f str> {
    let source = format!("{name}/src/");
    let paths = files.iter().filter_map(|file| file.path.strip_prefix(source.as_str())).filter(|path| is_rust(path));
    let modules =
        paths.filter_map(|path| path.split('/').next()).map(|first| first.strip_suffix(".rs").unwrap_or(first));
    modules.filter(|module| is_counted(module)).collect()
}

/// The modules that a section's map names: on lines that are indented by two spaces, as in a code block, or in the first cells of a table.
fn named<'d>(document: &'d str, heading: &str) -> BTreeSet<&'d str> {
    let after = document.split_once(&format!("\n{heading}\n")).map_or("", |(_, after)| after);
    let section = after.split("\n## ").next().unwrap_or_default();
    section.lines().filter_map(names).flat_map(|names| names.split(", ")).filter_map(module_of).collect()
}

/// The names that a line of a map begins with.
fn names(line: &str) -> Option<&str> {
    if let Some(row) = line.strip_prefix("| ") {
        // Other first cells are a heading, or name another crate.
        return row.split(" |").next().filter(|cell| cell.starts_with('`'));
    }
    line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split("  ").next()
}

/// The module of a file or a folder; none for one within another folder, which a map may name and need not.
fn module_of(name: &str) -> Option<&str> {
    let name = name.trim_matches('`');
    let module = name.strip_suffix(".rs").or_else(|| name.strip_suffix('/'))?;
    let is_name = module.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (is_name && is_counted(module)).then_some(module)
}

fn is_counted(module: &str) -> bool {
    !matches!(module, "lib" | "main")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(document: &str) -> Vec<File> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let sources = ["server/src/lib.rs", "server/src/clock.rs", "server/src/store/mod.rs", "simulator/src/main.rs"];
        let others = ["simulator/src/link/mod.rs", "simulator/src/seed.rs", "simulator/tests/x/y.rs"];
        let sources = sources.iter().chain(&others).map(|path| file(path, ""));
        sources.chain([file("ARCHITECTURE.md", document)]).collect()
    }

    fn document(server: &str, simulator: &str) -> String {
        format!(
            "# Map\n\n## The server, layer by layer\n\n```text\nserver/src/\n ground\n{server}```\n\n## The flow of one run\n\n\
             | folder | what it owns |\n| --- | --- |\n{simulator}| reports: `plot/`, `html.rs` | pictures |\n\n## Tests\n\n| `x/` | y |\n"
        )
    }

    const SERVER: &str = "  clock.rs, main.rs   time; see limit/\n  store/   one file a topic\n    chain.rs   within it\n  store/sqlite/   its SQL\n";
    const SIMULATOR: &str = "| `link/`, `seed.rs` | how devices reach a server; `clock.rs` |\n";

    #[test]
    fn complete_maps_are_right() {
        assert_eq!(broken(&files(&document(SERVER, SIMULATOR))), [""; 0]);
    }

    #[test]
    fn a_module_that_no_map_names_is_found() {
        let without_store = SERVER.replace("  store/   one", "    store/   one");
        let found = broken(&files(&document(&without_store, &SIMULATOR.replace(", `seed.rs`", ""))));
        assert_eq!(
            found,
            [
                "ARCHITECTURE.md: the map under `## The server, layer by layer` does not name `store` of server/src",
                "ARCHITECTURE.md: the map under `## The flow of one run` does not name `seed` of simulator/src"
            ]
        );
        assert_eq!(broken(&files("# No maps\n")).len(), 4);
    }

    #[test]
    fn a_name_that_is_no_module_is_found() {
        let simulator = SIMULATOR.replace("`seed.rs`", "`seed.rs`, `machine/`");
        assert_eq!(
            broken(&files(&document(SERVER, &simulator))),
            ["ARCHITECTURE.md: the map under `## The flow of one run` names `machine`, which is not in simulator/src"]
        );
    }
}
