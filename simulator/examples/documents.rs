//! Makes the parts of documents that the server and the simulator know: `cargo xtask documents` runs it.

use ks_fleet::{scenario::metrics_in_words, timeline::steps_in_words};
use ks_server::{
    admin::{openapi, routes},
    config::SETTINGS,
    limit::{Spec, TABLE},
    role::Access,
};

/// A part of a document that is made.
pub(crate) struct Part {
    /// The document, from the project's root.
    pub(crate) path: &'static str,
    /// The part stands between `<!-- {name}: made by ... -->` and `<!-- end of {name} -->`.
    name: &'static str,
    make: fn() -> String,
}

pub(crate) const PARTS: [Part; 5] = [
    Part { path: "docs/configuration.md", name: "settings", make: settings_table },
    Part { path: "docs/admin-api.md", name: "routes", make: routes_table },
    Part { path: "docs/rate-limits.md", name: "limits", make: limits_table },
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

/// The API's document, from which the client of the admin web is generated.
pub(crate) const OPENAPI: &str = "admin-web/openapi.json";

pub(crate) fn openapi_json() -> String {
    format!("{:#}\n", openapi::generate(&routes()))
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

/// What a limit costs honest devices and people, by its name.
pub(crate) const COSTS: &[(&str, &str)] = &[
    (
        "all_requests",
        "nothing below it; above it new devices and log lines wait for a minute, heartbeats for half an interval, ACKs and punches for 2 s and last",
    ),
    ("device_requests", "nothing to a device that sends at most two requests a second, or 30 at once"),
    ("device_log_bytes", "a device that logs more keeps its lines and sends them later; its other requests go on"),
    ("device_punches", "a device with more punches keeps them and sends them later; its heartbeats go on"),
    (
        "device_stored_bytes",
        "a device that stored so much is refused altogether; a heartbeat a minute and 1,000 punches a day store 0.3 MB",
    ),
    ("device_key_changes", "the fourth key change in a row waits for a minute"),
    (
        "device_pair_failures",
        "while its address is flooded, a device that somebody names with its next pairs is refused unless its connection stays open",
    ),
    (
        "address_failures",
        "a device behind a flooded address whose requests show no sign of it, such as one with a lost counter, is refused with the flood",
    ),
    ("site_failures", "the same, for each address of the network"),
    ("expensive_failures", "the same, for all addresses"),
    ("new_device_failures", "devices that never sent anything wait while somebody guesses their first pairs"),
    (
        "address_registrations",
        "of more than 2,000 devices that are switched on together behind one address, the rest wait",
    ),
    ("registrations", "of more than 10,000 devices that are switched on together, the rest wait"),
    (
        "address_unsigned",
        "of more than 20,000 devices behind one address that fetch a new keyset together, the rest wait: 1,000 a second",
    ),
    ("token_calls", "nothing to devices; a script that calls more than 20 times a second waits, once this is enforced"),
    (
        "address_wrong_tokens",
        "a valid token that was not used lately is refused beside anyone who guesses from its address",
    ),
    ("address_logins", "a user at a new address is refused beside anyone who guesses from there"),
    ("user_logins", "a user at a new address is refused while somebody guesses the password; at a known one not"),
    ("login_attempts", "a person's 13th login within a minute waits for 5 s"),
];

fn limits_table() -> String {
    let mut text = String::from(
        "| limit | of each | by default | because | what it costs the honest |\n| --- | --- | --- | --- | --- |\n",
    );
    for spec in TABLE {
        let Spec { name, subject, unit, reason, mode_default_text, .. } = spec;
        let rate = match &spec.burst {
            Some(burst) => format!("{} a minute, {} at once", grouped(spec.rate.default), grouped(burst.default)),
            None => format!("{} a day", grouped(spec.rate.default)),
        };
        let cost = COSTS.iter().find(|(known, _)| known == name).map_or("", |(_, cost)| cost);
        text += &format!("| `{name}` | {subject} | {unit}: {rate}, {mode_default_text} | {reason} | {cost} |\n");
    }
    text
}

fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
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
    std::fs::write(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(OPENAPI), openapi_json())
}
