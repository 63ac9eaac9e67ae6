//! Goal: documents say of every setting, route, step of a timeline and metric what the programs say.

#[path = "../../examples/documents.rs"]
mod made;

#[test]
fn what_is_made_of_documents_is_made_by_this_code() {
    for part in made::PARTS {
        let path = format!("{}/../{}", env!("CARGO_MANIFEST_DIR"), part.path);
        let document = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(part.made_again(&document), Some(document), "{}: run `cargo xtask documents`", part.path);
    }
}

#[test]
fn the_document_that_the_admin_web_is_generated_from_is_that_of_this_code() {
    let path = format!("{}/../{}", env!("CARGO_MANIFEST_DIR"), made::OPENAPI);
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made::openapi_json(), "{}: run `cargo xtask web schema`", made::OPENAPI);
}

#[test]
fn of_every_limit_the_page_says_what_it_costs() {
    let described = made::COSTS.iter().map(|(name, _)| *name);
    assert!(described.eq(ks_server::limit::TABLE.iter().map(|spec| spec.name)), "in the order of the table");
}
