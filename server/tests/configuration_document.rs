//! Goal: docs/configuration.md says of every setting what the program says.

#[path = "../examples/settings.rs"]
mod made;

#[test]
fn the_table_is_made_by_this_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(made::with_table(&document), Some(document), "run `cargo xtask settings`");
}
