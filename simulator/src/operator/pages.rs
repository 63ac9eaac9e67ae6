//! Pagination of the admin API's lists: ends for any server, also one whose cursors repeat.

use std::collections::BTreeSet;

use crate::number::counted;

/// Pages of one list at most: a hundred million rows.
const PAGES_MAX: usize = 10_000;
/// Characters of a cursor at most.
const CURSOR_CHARS_MAX: usize = 64;

/// The cursors that the pages of one list have named.
#[derive(Debug, Default)]
pub struct Cursors {
    seen: BTreeSet<String>,
}

impl Cursors {
    /// The cursor after a page of `rows` rows, of `limit` requested, that named `next`; none after the last
    /// page.
    ///
    /// # Errors
    /// A sentence that says why this list would never end.
    pub fn after_page(&mut self, rows: usize, limit: usize, next: Option<String>) -> Result<Option<String>, String> {
        let Some(next) = next else { return Ok(None) };
        let chars = next.chars().count();
        if chars > CURSOR_CHARS_MAX {
            return Err(format!("next_cursor has {chars} characters, expected at most {CURSOR_CHARS_MAX}"));
        }
        if rows < limit {
            return Err(format!(
                "a page of {}, where {limit} were requested, names a next one, `{next}`",
                counted(rows, "row")
            ));
        }
        if self.seen.len() >= PAGES_MAX {
            return Err(format!("the list has more than {PAGES_MAX} pages"));
        }
        if !self.seen.insert(next.clone()) {
            return Err(format!("the list repeats: next_cursor is `{next}` again"));
        }
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_list_is_an_error() {
        let page = |cursors: &mut Cursors, rows, next: &str| cursors.after_page(rows, 2, Some(next.to_owned()));
        let mut cursors = Cursors::default();
        assert_eq!(page(&mut cursors, 2, "7"), Ok(Some("7".to_owned())));
        assert_eq!(page(&mut cursors, 2, "9"), Ok(Some("9".to_owned())));
        assert!(page(&mut cursors, 2, "7").unwrap_err().contains("`7` again"), "a cycle of two");
        assert!(page(&mut cursors, 0, "8").unwrap_err().contains("a page of 0 rows"));
        assert!(page(&mut cursors, 1, "8").unwrap_err().contains("a page of 1 row, where 2 were requested"));
        assert!(page(&mut cursors, 2, &"1".repeat(65)).unwrap_err().contains("65 characters"));
        assert_eq!(cursors.after_page(1, 2, None), Ok(None));
    }

    #[test]
    fn a_list_has_a_maximum_length() {
        let mut cursors = Cursors::default();
        let failed_at = (0..2 * PAGES_MAX).find(|number| cursors.after_page(1, 1, Some(number.to_string())).is_err());
        assert_eq!(failed_at, Some(PAGES_MAX));
    }
}
