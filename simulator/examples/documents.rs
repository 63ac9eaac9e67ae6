//! Makes the parts of documents that the simulator knows: `cargo xtask documents` runs it.

use ks_fleet::{scenario::metrics_in_words, timeline::steps_in_words};

/// A part of a document that is made.
pub(crate) struct Part {
    /// The document, from the project's root.
    pub(crate) path: &'static str,
    /// The part stands between `<!-- {name}: made by ... -->` and `<!-- end of {name} -->`.
    name: &'static str,
    make: fn() -> String,
}

/// All of them.
pub(crate) const PARTS: [Part; 2] = [
    Part { path: "docs/scenarios.md", name: "steps", make: steps_in_words },
    Part { path: "docs/scenarios.md", name: "metrics", make: metrics_in_words },
];

impl Part {
    /// The document with this part made again; none if the marks are missing.
    pub(crate) fn made_again(&self, document: &str) -> Option<String> {
        let begin = format!("<!-- {}: made by `cargo xtask documents` -->\n", self.name);
        let end = format!("<!-- end of {} -->\n", self.name);
        let (before, rest) = document.split_once(&begin)?;
        let (_, after) = rest.split_once(&end)?;
        Some([before, &begin, &(self.make)(), &end, after].concat())
    }
}

#[allow(dead_code, reason = "the test that compares the documents includes this module without its main")]
fn main() -> std::io::Result<()> {
    for part in PARTS {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part.path);
        let document = std::fs::read_to_string(&path)?;
        let made =
            part.made_again(&document).ok_or_else(|| std::io::Error::other(format!("{} has no marks", part.path)))?;
        std::fs::write(path, made)?;
    }
    Ok(())
}
