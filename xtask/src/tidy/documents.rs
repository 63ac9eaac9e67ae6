//! Links and paths in documents that lead nowhere.

use std::path::Path;

use super::File;

/// How a text in backticks must end to be taken for a path of the project.
const ENDS: [&str; 8] = [".rs", ".md", ".toml", ".sql", ".yml", ".toon", ".json", "/"];
/// Beginnings of paths that exist only at run time or on the user's machine.
const MADE: [&str; 15] = [
    "target/", "reports/", "data/", "keys/", "/", "./", "~/", "http", "run/", "out/", "--", "$", "my-", "../",
    "offline/",
];

/// Links and paths that lead nowhere, each with its document and line.
pub(super) fn broken(files: &[File]) -> Vec<String> {
    let documents = files.iter().filter(|file| Path::new(&file.path).extension().is_some_and(|end| end == "md"));
    documents.flat_map(|document| of(document, files)).collect()
}

fn of(document: &File, files: &[File]) -> Vec<String> {
    let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    let mut is_example = false;
    for (number, line) in document.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_example = !is_example;
        }
        if is_example {
            continue;
        }
        let links = links(line).into_iter().filter(|link| !leads_somewhere(folder, link, files));
        let paths = paths(line).into_iter().filter(|path| !is_known(path, files));
        broken.extend(links.chain(paths).map(|what| format!("{}:{}: there is no `{what}`", document.path, number + 1)));
    }
    broken
}

/// Targets of `[text](target)` within the project.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter_map(|target| target.split('#').next());
    files.filter(|file| !file.is_empty() && !file.starts_with("http") && !file.starts_with("mailto:")).collect()
}

fn leads_somewhere(folder: &Path, link: &str, files: &[File]) -> bool {
    let mut path = Vec::new();
    for part in folder.join(link).components() {
        match part {
            std::path::Component::ParentDir => drop(path.pop()),
            other => path.push(other.as_os_str().to_string_lossy().into_owned()),
        }
    }
    let path = path.join("/");
    files.iter().any(|file| file.path == path || file.path.starts_with(&format!("{path}/")))
}

/// Texts in backticks that look like a path of the project.
fn paths(line: &str) -> Vec<&str> {
    let quoted = line.split('`').skip(1).step_by(2);
    // `x.rs` and `NNNN_x.sql` are placeholders.
    let is_placeholder =
        |text: &str| text.rsplit('/').next().is_some_and(|name| name.starts_with("x.") || name.starts_with("NNNN"));
    let is_path = |text: &&str| {
        text.contains('/')
            && !is_placeholder(text)
            && ENDS.iter().any(|end| text.ends_with(end))
            && !MADE.iter().any(|made| text.starts_with(made))
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.".contains(c))
    };
    quoted.filter(is_path).collect()
}

/// Paths are relative to the root or to a crate, as in ARCHITECTURE.md.
fn is_known(path: &str, files: &[File]) -> bool {
    let folder = path.strip_suffix('/');
    files.iter().any(|file| {
        let at = |part: &str| file.path.starts_with(part) || file.path.contains(&format!("/{part}"));
        match folder {
            Some(folder) => at(&format!("{folder}/")),
            None => file.path == path || file.path.ends_with(&format!("/{path}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_links_are_listed_with_their_line() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let text = "See [b](b.md#x) and [no](../no.md).\n`src/a.rs`, `x/src/`, `src/b.rs`, `target/x.rs`, `src/x.rs`\n```\n`src/c.rs`\n```\n";
        let files = [file("docs/a.md", text), file("docs/b.md", ""), file("x/src/a.rs", "")];
        assert_eq!(broken(&files), ["docs/a.md:1: there is no `../no.md`", "docs/a.md:2: there is no `src/b.rs`"]);
    }
}
