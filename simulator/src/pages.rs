//! How far a list of the admin API is read: page by page, and never in circles, whatever the other side names as the next page.

use std::collections::BTreeSet;

/// Pages of one list at most: a hundred million rows.
const PAGES_MAX: usize = 10_000;
/// Characters of a cursor at most.
const CURSOR_CHARS_MAX: usize = 64;

/// The cursors of one list, as pages named them.
#[derive(Debug, Default)]
pub struct Cursors {
    seen: BTreeSet<String>,
}

impl Cursors {
    /// The cursor of the page after one of `rows` rows, of `limit` that were asked for, that named `next`; none after the last
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
            return Err(format!("a page of {rows} rows, where {limit} were asked for, names a next one, `{next}`"));
        }
        if self.seen.len() >= PAGES_MAX {
            return Err(format!("the list has more than {PAGES_MAX} pages"));
        }
        if !self.seen.insert(next.clone()) {
            return Err(format!("the list goes in circles: next_cursor is `{next}` again"));
        }
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_would_never_end_is_given_up() {
        let page = |cursors: &mut Cursors, rows, next: &str| cursors.after_page(rows, 2, Some(next.to_owned()));
        let mut cursors = Cursors::default();
        assert_eq!(page(&mut cursors, 2, "7"), Ok(Some("7".to_owned())));
        assert_eq!(page(&mut cursors, 2, "9"), Ok(Some("9".to_owned())));
        assert!(page(&mut cursors, 2, "7").unwrap_err().contains("`7` again"), "a circle of two");
        assert!(page(&mut cursors, 0, "8").unwrap_err().contains("a page of 0 rows"));
        assert!(page(&mut cursors, 1, "8").unwrap_err().contains("a page of 1 rows, where 2 were asked for"));
        assert!(page(&mut cursors, 2, &"1".repeat(65)).unwrap_err().contains("65 characters"));
        assert_eq!(cursors.after_page(1, 2, None), Ok(None));
    }

    #[test]
    fn a_list_has_a_greatest_length() {
        let mut cursors = Cursors::default();
        let given_up = (0..2 * PAGES_MAX).find(|number| cursors.after_page(1, 1, Some(number.to_string())).is_err());
        assert_eq!(given_up, Some(PAGES_MAX));
    }
}
