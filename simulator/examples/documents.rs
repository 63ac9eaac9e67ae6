//! Makes the parts of documents that the server and the simulator know: `cargo xtask documents` runs it.

use ks_fleet::{scenario::metrics_in_words, timeline::steps_in_words};
use ks_server::{admin::routes, config::SETTINGS, role::Access};

/// A part of a document that is made.
pub(crate) struct Part {
    /// The document, from the project's root.
    pub(crate) path: &'static str,
    /// The part stands between `<!-- {name}: made by ... -->` and `<!-- end of {name} -->`.
    name: &'static str,
    make: fn() -> String,
}

pub(crate) const PARTS: [Part; 4] = [
    Part { path: "docs/configuration.md", name: "settings", make: settings_table },
    Part { path: "docs/admin-api.md", name: "routes", make: routes_table },
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

fn settings_table() -> String {
    let mut text = String::from("| Setting | Default | Expected | For |\n| --- | --- | --- | --- |\n");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "unset".to_owned() } else { format!("`{}`", setting.default) };
        let expected = setting.expected.replace('|', "\\|");
        text += &format!("| `{}` | {default} | {expected} | {} |\n", setting.name, setting.help);
    }
    text
}

fn routes_table() -> String {
    let mut text = String::from("| route | who | does |\n| --- | --- | --- |\n");
    for route in routes() {
        let (method, path, summary) = (route.method.as_str(), route.path, route.summary.trim_end_matches('.'));
        text += &format!("| `{method} {path}` | {} | {summary} |\n", who(route.access));
    }
    text
}

/// The short name of the roles that may call a route.
fn who(access: Access) -> &'static str {
    let words = [
        (Access::Everybody, "anyone"),
        (Access::ANY_ROLE, "any"),
        (Access::READ, "read"),
        (Access::OPERATE, "operate"),
        (Access::RELEASE, "release"),
        (Access::PROVISION, "provision"),
        (Access::ADMIN, "admin"),
    ];
    words.into_iter().find(|(known, _)| *known == access).map_or("see the OpenAPI document", |(_, word)| word)
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
