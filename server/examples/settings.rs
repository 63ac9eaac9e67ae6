//! Makes the table of settings in docs/configuration.md: `cargo xtask settings` runs it.

use ks_server::config::SETTINGS;

/// Between these lines the table stands.
const MARKS: (&str, &str) = ("<!-- settings: made by `cargo xtask settings` -->\n", "<!-- end of settings -->\n");

/// The document with its table made again; none if the marks are missing.
pub(crate) fn with_table(document: &str) -> Option<String> {
    let (before, rest) = document.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some([before, MARKS.0, &table(), MARKS.1, after].concat())
}

fn table() -> String {
    let mut text = String::from("| Setting | Default | Expected | For |\n| --- | --- | --- | --- |\n");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "unset".to_owned() } else { format!("`{}`", setting.default) };
        let expected = setting.expected.replace('|', "\\|");
        text += &format!("| `{}` | {default} | {expected} | {} |\n", setting.name, setting.help);
    }
    text
}

#[allow(dead_code, reason = "the test that compares the document includes this module without its main")]
fn main() -> std::io::Result<()> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let document = std::fs::read_to_string(&path)?;
    let made = with_table(&document).ok_or_else(|| std::io::Error::other("docs/configuration.md has no marks"))?;
    std::fs::write(path, made)
}
