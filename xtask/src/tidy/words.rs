//! Retired words: the project has one term for each thing (the glossary of ARCHITECTURE.md), and these are no longer it.

use super::File;

/// Words and phrases in lower case, each with the term to use instead.
const RETIRED: [(&str, &str); 29] = [
    ("astray", "missing or wrong"),
    ("breach", "violation"),
    ("come again", "retry later"),
    ("dice", "seed, random numbers"),
    ("doubled", "duplicated"),
    ("heed", "follow"),
    ("honoured", "obeyed, applied"),
    ("lest", "so that ... not"),
    ("lot", "draw"),
    ("makes of it", "interprets it"),
    ("misfit", "invalid"),
    ("misspelt", "unknown, misspelled"),
    ("no good any more", "revoked, expired"),
    ("nonsense", "invalid"),
    ("nought", "zero"),
    ("promise", "invariant, guarantee"),
    ("promises", "invariants, guarantees"),
    ("promised", "predicted, guaranteed"),
    ("reckon", "compute"),
    ("reckoned", "computed"),
    ("shut out", "blocked, locked out"),
    ("told", "sent, reported"),
    ("unfit", "invalid"),
    ("weather", "network faults"),
    ("what became of", "the result of"),
    ("whoever", "the caller, anyone who"),
    ("whom", "which ..."),
    ("wish", "request"),
    ("wishes", "requests"),
];

/// Files of others, the history of names, and this list.
const OTHERS: [&str; 6] = [
    "Cargo.lock",
    "package-lock.json",
    "CHANGELOG.md",
    "LICENSE",
    "proptest-regressions/rollout/tests/properties.txt",
    "tidy/words.rs",
];

/// Lines that use a retired word, in prose as in names.
pub(super) fn retired(files: &[File]) -> Vec<String> {
    let ours = |file: &&File| !OTHERS.iter().any(|end| file.path.ends_with(end));
    files.iter().filter(ours).flat_map(of).collect()
}

fn of(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let named = std::iter::once((0, file.path.as_str()));
    // `Promise` is a type of the language there.
    let is_typescript = [".ts", ".tsx"].iter().any(|end| file.path.ends_with(end));
    for (number, line) in named.chain(file.text.lines().enumerate().map(|(at, line)| (at + 1, line))) {
        let words = if is_typescript { words(&line.replace("Promise", "")) } else { words(line) };
        let used = RETIRED.iter().filter(|(retired, _)| words.contains(&format!(" {retired} ")));
        found.extend(used.map(|(retired, term)| format!("{}:{number}: `{retired}`; write {term}", file.path)));
    }
    found
}

/// The words of a line in lower case with single spaces between and around them; a name gives each of its words.
fn words(line: &str) -> String {
    let mut words = String::from(" ");
    let mut before = ' ';
    for c in line.chars() {
        let begins_word = c.is_uppercase() && before.is_lowercase();
        if (begins_word || !c.is_alphanumeric()) && !words.ends_with(' ') {
            words.push(' ');
        }
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        }
        before = c;
    }
    words.push(' ');
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retired_words_are_found_in_prose_and_in_names() {
        let text = "whomsoever\nsee WhomItConcerns\nfn heed() {}\nthe unfitting Weathervane\n";
        let file = File { path: "docs/told.md".to_owned(), text: text.to_owned() };
        let lines: Vec<String> =
            retired(&[file]).iter().map(|line| line.split("; ").next().unwrap_or_default().to_owned()).collect();
        assert_eq!(lines, ["docs/told.md:0: `told`", "docs/told.md:2: `whom`", "docs/told.md:3: `heed`"]);
    }
}
