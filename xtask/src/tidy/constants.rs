//! Constants of the same name and value in several files: changed in one place, they are forgotten in the other.

use std::collections::{BTreeMap, BTreeSet};

use super::File;
use crate::shell::say;

/// Names that may stand in several files, with why.
const SEPARATE: [(&[&str], &str); 4] = [
    (&["DAY_S", "HOUR", "HOUR_MS"], "units of time, which don't change"),
    (
        &["BOOTS_AHEAD_MAX", "LINE_BYTES", "ROW_BYTES", "SEQ_AHEAD_MAX", "SHARE"],
        "the oracle of rate limits is written from their specification and shares nothing with the server",
    ),
    (
        &["SHARES_MAX"],
        "the server writes scenarios and does not know the simulator, which refuses those that are too large",
    ),
    (
        &["FORMAT", "NAMED_MAX", "OTHER_FILES", "PAGE", "ROWS_MAX"],
        "each is chosen for its own list, file or process, and equal by chance",
    ),
];

/// Prints the constants that stand in several files without being meant to.
pub(super) fn show(files: &[&File]) {
    let of_source = files.iter().filter(|file| is_source(&file.path));
    let mut found: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    for file in of_source {
        let product = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for constant in constants(product) {
            found.entry(constant).or_default().insert(&file.path);
        }
    }
    found.retain(|_, paths| paths.len() > 1);
    let all = found.len();
    found.retain(|(name, _), _| !SEPARATE.iter().any(|(names, _)| names.contains(&name.as_str())));
    let meant = all - found.len();
    say(&format!("constants that stand in several files: {} ({meant} more are meant to)", found.len()));
    for ((name, value), paths) in found {
        say(&format!("  {name} = {value}: {}", paths.into_iter().collect::<Vec<_>>().join(" ")));
    }
}

fn is_source(path: &str) -> bool {
    path.contains("/src/") && !path.split(['/', '.']).any(|part| matches!(part, "tests" | "testing"))
}

/// The name and the value of each constant, as rustfmt writes them.
fn constants(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("const ") {
        let before = text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
        let is_declared = before.is_empty() || before.starts_with("pub");
        let Some((declared, _)) = text[at + "const ".len()..].split_once(';').filter(|_| is_declared) else { continue };
        let Some((name, typed)) = declared.split_once(": ") else { continue };
        let Some((_, value)) = typed.split_once(" =") else { continue };
        if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') {
            found.push((name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_found_with_their_values() {
        let text = "/// A const word.\npub(crate) const ROWS: usize = 1_000;\n    const WAIT: Duration =\n        Duration::from_secs(5);\n\
                    pub const fn ms(count: u64) -> u64;\npub struct Body<const BYTES_MAX: usize>(pub Bytes);\n";
        let found = constants(text);
        let expected = [("ROWS", "1_000"), ("WAIT", "Duration::from_secs(5)")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn tests_may_repeat_a_constant() {
        assert!(is_source("server/src/pace.rs"));
        for path in [
            "server/src/rollout/tests/gates.rs",
            "server/src/store/testing/mod.rs",
            "server/tests/x.rs",
            "a/src/tests.rs",
        ] {
            assert!(!is_source(path), "{path}");
        }
    }
}
