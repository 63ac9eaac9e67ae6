//! Long files and functions, which may hold two ideas, and files without a first doc line.

use super::{File, show_largest};

/// Files with more lines than this may hold two ideas.
const FILE_LINES_MAX: usize = 500;
/// Functions with more lines than this may, too.
const FUNCTION_LINES_MAX: usize = 60;

/// Prints the longest files and functions.
pub(super) fn show(files: &[&File]) {
    let long = files.iter().map(|file| (file.text.lines().count(), file.path.clone()));
    show_largest(
        &format!("files over {FILE_LINES_MAX} lines"),
        long.filter(|(lines, _)| *lines > FILE_LINES_MAX).collect(),
    );
    let functions = files.iter().flat_map(|file| {
        functions(&file.text).into_iter().map(|(lines, name)| (lines, format!("{}: {name}", file.path)))
    });
    let long: Vec<_> = functions.filter(|(lines, _)| *lines > FUNCTION_LINES_MAX).collect();
    show_largest(&format!("functions over {FUNCTION_LINES_MAX} lines"), long);
}

/// Files whose first line is not `//! ...`.
pub(super) fn nameless(files: &[&File]) -> Vec<String> {
    let nameless = files.iter().filter(|file| !file.text.starts_with("//! "));
    nameless.map(|file| format!("{}: the first line does not say what it is (`//! ...`)", file.path)).collect()
}

/// Functions with their lines. As rustfmt writes them: the closing brace is where the function began.
fn functions(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let ends = |line: &&str| {
            line.len() > indent && line.trim_start().len() + indent == line.len() && line.trim_start().starts_with('}')
        };
        let rest = lines.get(number..).unwrap_or_default();
        if line.ends_with('}') || line.ends_with(';') {
            continue; // one line, or a trait's function without a body
        }
        let is_without_body =
            |line: &&str| line.ends_with(';') && line.starts_with(&format!("{}) ", " ".repeat(indent)));
        let Some(length) = rest.iter().position(|line| ends(line) || is_without_body(line)) else { continue };
        if rest.get(length).is_some_and(ends) {
            found.push((length + 1, name.to_owned()));
        }
    }
    found
}

/// The name, if a function begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_head = before
        .split_whitespace()
        .all(|word| matches!(word, "pub" | "async" | "const" | "unsafe" | "extern") || word.starts_with("pub("));
    let name = after.split(['(', '<']).next()?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_head && is_name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_head_to_brace() {
        let text = "fn one() {}\n\nimpl X {\n    pub(crate) async fn two(\n        a: u8,\n    ) -> u8 {\n        if a {\n        }\n    }\n}\n\ntrait Y {\n    fn five(\n        a: u8,\n    ) -> u8;\n}\n\nfn three()\nwhere\n    T: U,\n{\n    4\n}\n// a comment about fn four()\n";
        let found: Vec<_> = functions(text).into_iter().map(|(lines, name)| format!("{name} {lines}")).collect();
        assert_eq!(found, ["two 6", "three 6"]);
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_is_named() {
        let file = |text: &str| File { path: "x.rs".to_owned(), text: text.to_owned() };
        assert_eq!(nameless(&[&file("//! A thing.\n")]).len(), 0);
        assert_eq!(nameless(&[&file("use x;\n//! A thing.\n")]).len(), 1);
    }
}
