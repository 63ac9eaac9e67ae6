//! Problems that the reader and the checks find, by byte range, before they become diagnostics; and suggestions for typos.

use std::cmp::Reverse;

use super::diagnostic::Diagnostic;
use super::limits::PROBLEMS_SHOWN_MAX;
use super::source::Place;
use crate::number::counted;

/// Characters of the file's own text that a message quotes.
const QUOTED_CHARS_MAX: usize = 60;

const SUGGESTION_CHARS_MAX: usize = 80;
/// Least characters of a beginning that stands for a name.
const BEGINNING_CHARS_MIN: usize = 4;
/// Most names in a list in a message.
const LISTED_MAX: usize = 20;

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) at: Place,
    pub(crate) message: String,
    pub(crate) expected: String,
    pub(crate) suggestion: Option<String>,
    pub(crate) help: Option<String>,
    /// A related place: the first of two.
    pub(crate) first: Option<Place>,
}

impl Problem {
    /// What is wrong, and where.
    pub(crate) fn new(at: Place, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), expected: String::new(), suggestion: None, help: None, first: None }
    }

    /// What was expected: completes "expected ...".
    pub(crate) fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), ..self }
    }

    /// What to write instead; long suggestions are dropped.
    pub(crate) fn suggest(self, suggestion: Option<impl Into<String>>) -> Self {
        let suggestion = suggestion.map(Into::into).filter(|text| text.chars().count() <= SUGGESTION_CHARS_MAX);
        Self { suggestion, ..self }
    }

    /// The place of the first of two.
    pub(crate) fn first_at(self, first: Place) -> Self {
        Self { first: Some(first), ..self }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// The problems of one file. Bounded: after the first few only the count grows.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    not_kept: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.found.len() < PROBLEMS_SHOWN_MAX {
            self.found.push(problem);
        } else {
            self.not_kept += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The one that was found first.
    pub(crate) fn into_first(self) -> Option<Problem> {
        self.found.into_iter().next()
    }

    /// In the order of the file.
    pub(crate) fn into_diagnostics(mut self, path: &str, text: &str) -> Vec<Diagnostic> {
        self.found.sort_by_key(|problem| problem.at);
        let mut diagnostics: Vec<_> =
            self.found.into_iter().map(|problem| Diagnostic::new(path, text, problem)).collect();
        if self.not_kept > 0 {
            let message = format!("not shown: {}", counted(self.not_kept, "more problem"));
            diagnostics.push(Diagnostic::of_file(path, message, ""));
        }
        diagnostics
    }
}

/// The file's own text for a message: cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(QUOTED_CHARS_MAX).collect();
    if chars.next().is_some() { format!("`{start}…`") } else { format!("`{start}`") }
}

/// `a, b or c`, each in backquotes; a long list is cut.
pub(crate) fn any_of(names: &[&str]) -> String {
    let mut quoted: Vec<_> = names.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    if names.len() > LISTED_MAX {
        quoted.push(format!("{} more", names.len() - LISTED_MAX));
    }
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// The closest candidate, if one is near: by spelling, by its words, or by its beginning.
pub(crate) fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.chars().count() > QUOTED_CHARS_MAX {
        return None;
    }
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let given = plain(given);
    let edits_max = given.chars().count().max(3) / 3;
    let by_spelling = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&given, &plain(candidate)), *candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits);
    let near = by_spelling.map(|(_, candidate)| candidate);
    near.or_else(|| by_words(&given, &candidates)).or_else(|| by_beginning(&given, &candidates))
}

/// All candidates, first those that share most words with what is given, of these the most similar ones.
pub(crate) fn nearest_first<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let given: String = plain(given).chars().take(QUOTED_CHARS_MAX).collect();
    let distance = |candidate: &str| {
        let candidate = plain(candidate);
        let shared = candidate.split('_').filter(|word| given.split('_').any(|given| given == *word)).count();
        (Reverse(shared), strsim::damerau_levenshtein(&given, &candidate))
    };
    let mut candidates: Vec<&str> = candidates.into_iter().collect();
    candidates.sort_by_cached_key(|candidate| distance(candidate));
    candidates
}

/// As `closest`, in the quotes of a TOML string.
pub(crate) fn closest_value<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(given, candidates).map(|near| format!("\"{near}\""))
}

/// The only candidate that contains all given words, or whose words are all given.
fn by_words<'a>(given: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let words = |name: &str| -> Vec<String> { plain(name).split(['_', '.']).map(str::to_owned).collect() };
    let given = words(given);
    if given.iter().all(|word| word.len() < 3) {
        return None;
    }
    let mut near = candidates.iter().filter(|candidate| {
        let candidate = words(candidate);
        given.iter().all(|word| candidate.contains(word)) || candidate.iter().all(|word| given.contains(word))
    });
    match (near.next(), near.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The only candidate that begins like this: a word in another form, or one that was not finished.
fn by_beginning<'a>(given: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if given.chars().count() < BEGINNING_CHARS_MIN {
        return None;
    }
    let mut near = candidates.iter().filter(|candidate| plain(candidate).starts_with(given));
    match (near.next(), near.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The form in which names are compared: lower case, `-` and blanks as `_`.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace(['-', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_found_by_spelling_or_by_words() {
        let names = ["devices", "heartbeat_interval", "connections", "id_prefix", "otrt", "heartbeat.p99_ms"];
        for (given, meant) in [
            ("device", Some("devices")),
            ("Devices", Some("devices")),
            ("hearbeat-interval", Some("heartbeat_interval")),
            ("interval", Some("heartbeat_interval")),
            ("interval_heartbeat", Some("heartbeat_interval")),
            ("heartbeat.p99", Some("heartbeat.p99_ms")),
            ("conections", Some("connections")),
            ("connect", Some("connections")),
            ("con", None),       // it could become anything
            ("heartbeat", None), // two names contain it
            ("speed", None),
            ("", None),
        ] {
            assert_eq!(closest(given, names), meant, "{given}");
        }
    }

    #[test]
    fn names_that_share_words_are_nearer_than_those_of_similar_letters() {
        let names = ["ARTIFACT_SIZE", "DEVIL_SEND_BITE", "DEVICE_BURST", "DEVICE_LOG_BYTES_MODE"];
        let nearest = ["DEVICE_LOG_BYTES_MODE", "DEVICE_BURST", "DEVIL_SEND_BITE", "ARTIFACT_SIZE"];
        assert_eq!(nearest_first("device-bytes", names), nearest);
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        assert_eq!(any_of(&[]), "nothing");
        assert_eq!(any_of(&["a"]), "`a`");
        assert_eq!(any_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }

    #[test]
    fn a_long_quotation_is_cut() {
        assert_eq!(quoted(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }
}
