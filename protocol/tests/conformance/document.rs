//! Goal: docs/protocol.md says of every refusal what the code says.

use ks_protocol::refusal::RefusalCode;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

#[test]
fn every_code_is_in_the_table_with_its_status_meaning_and_help() {
    for code in RefusalCode::ALL {
        let row = format!("| `{code}` | {} | {} | {} |", code.status(), code.meaning(), code.help());
        let rows: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with(&row)).collect();
        assert_eq!(rows.len(), 1, "expected one row that begins {row}");
        let bound = rows.iter().filter_map(|line| line.strip_prefix(&row)).collect::<String>();
        assert_eq!(bound.contains("unbound"), code.may_be_unbound(), "{code}: {bound}");
    }
}
