//! Examples in doc comments: none is run, because running a handful of them takes as long as a hundred tests.

use super::File;

/// Code blocks in doc comments that a reader takes for checked Rust.
pub(super) fn unchecked(files: &[&File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let mut is_open = false;
        for (number, line) in file.text.lines().enumerate() {
            let line = line.trim_start();
            let Some(fence) = ["//! ```", "/// ```"].iter().find_map(|start| line.strip_prefix(start)) else {
                continue;
            };
            let language = fence.split([',', ' ']).next().unwrap_or_default();
            if !is_open && matches!(language, "" | "rust" | "no_run" | "should_panic" | "compile_fail" | "ignore") {
                found.push(format!(
                    "{}:{}: no test runs an example in a doc comment: write a test",
                    file.path,
                    number + 1
                ));
            }
            is_open = !is_open;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_looks_checked_is_named_and_other_languages_are_not() {
        let text = "//! A thing.\n//! ```toml\n//! a = 1\n//! ```\n\n/// ```\n/// f();\n/// ```\n    /// ```rust,no_run\n    /// ```\n";
        let file = File { path: "x.rs".to_owned(), text: text.to_owned() };
        let named: Vec<String> =
            unchecked(&[&file]).iter().map(|of| of.split(": ").next().unwrap().to_owned()).collect();
        assert_eq!(named, ["x.rs:6", "x.rs:9"]);
    }
}
