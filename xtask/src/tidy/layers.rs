//! The server's layers: a module imports from its own layer and from those below, and from no layer above.

use super::cycles::Uses;

/// The layers from the bottom to the top, each with its modules: `store` stands for all below it that is named nowhere else.
const LAYERS: [(&str, &[&str]); 12] = [
    (
        "ground",
        &["clock", "command", "error_report", "limit", "metrics", "pace", "process_metrics", "rng", "role", "tls"],
    ),
    ("records", &["failure", "refusal", "rollout", "store"]),
    ("rules", &["config", "rules", "store::retention", "store::writer"]),
    ("databases", &["store::sqlite"]),
    ("parts", &["applied_limits", "artifacts", "keys", "password", "registry"]),
    ("context", &["app"]),
    ("work", &["http", "service"]),
    ("admission", &["admission"]),
    ("handlers", &["admin", "data_plane", "operations", "web"]),
    ("routes", &["router"]),
    ("machine", &["assembly", "edge", "serve"]),
    ("commands", &["cli"]),
];

/// Every import of the server's that goes up, and every module that is in no layer.
pub(super) fn broken(uses: &Uses) -> Vec<String> {
    let mut wrong = Vec::new();
    for (module, used) in uses {
        let Some(own) = layer(module) else {
            wrong.push(format!("server: {module} is in no layer: name it in xtask/src/tidy/layers.rs"));
            continue;
        };
        for above in used.iter().filter(|used| layer(used).is_some_and(|other| other > own)) {
            wrong.push(format!("server: {module} ({}) imports {above}, of a layer above", name(own)));
        }
    }
    wrong
}

fn name(layer: usize) -> &'static str {
    LAYERS.get(layer).map_or("", |(name, _)| *name)
}

/// The layer of a module: that of the longest path named that it is, or is within.
fn layer(module: &str) -> Option<usize> {
    let is_within =
        |path: &str| module.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let named = LAYERS.iter().enumerate().flat_map(|(layer, (_, paths))| paths.iter().map(move |path| (*path, layer)));
    named.filter(|(path, _)| is_within(path)).max_by_key(|(path, _)| path.len()).map(|(_, layer)| layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_up_is_found_and_what_goes_down_is_not() {
        let uses = |module: &str, used: &[&str]| {
            Uses::from([(module.to_owned(), used.iter().map(|used| (*used).to_owned()).collect())])
        };
        assert_eq!(broken(&uses("admin::devices", &["service::devices", "store::devices", "admin::page"])), [""; 0]);
        assert_eq!(broken(&uses("store::sqlite::wal", &["config", "rules::devices"])), [""; 0]);
        assert_eq!(broken(&uses("store::devices", &["config"])).len(), 1, "the records know no settings");
        assert_eq!(broken(&uses("service::bulk", &["http", "admin", "cli::output"])).len(), 2);
        assert_eq!(broken(&uses("storeroom", &[])).len(), 1, "a name that only begins alike");
    }
}
