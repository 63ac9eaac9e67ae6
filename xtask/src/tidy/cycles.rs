//! Cycles of modules: none of the modules in one can be understood, tested or moved without all the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{CRATES, File};
use crate::shell::say;

/// Which module uses which, by their paths within the crate.
pub(super) type Uses = BTreeMap<String, BTreeSet<String>>;

/// Shows for each crate how many of its modules are in cycles, and the largest.
pub(super) fn show(files: &[&File]) {
    for name in CRATES {
        let uses = uses(name, files);
        let cycles = cycles(&uses);
        let largest = cycles.iter().max_by_key(|cycle| cycle.len());
        let all: usize = cycles.iter().map(BTreeSet::len).sum();
        say(&format!("{name}: {all} of {} modules are in {} cycles", uses.len(), cycles.len()));
        if let Some(largest) = largest {
            let names: Vec<&str> = largest.iter().map(String::as_str).collect();
            say(&format!("  the largest has {}: {}", largest.len(), names.join(" ")));
        }
    }
}

/// The server's cycles, of which none is allowed.
pub(super) fn broken(uses: &Uses) -> Vec<String> {
    let names = |cycle: &BTreeSet<String>| cycle.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let sentence =
        |cycle: &BTreeSet<String>| format!("server: these modules import one another in a cycle: {}", names(cycle));
    cycles(uses).iter().map(sentence).collect()
}

/// Reads which module uses which from `crate::` paths and those that begin with `super::`. What only tests use is left out.
pub(super) fn uses(name: &str, files: &[&File]) -> Uses {
    let source = format!("{name}/src/");
    let modules: BTreeMap<String, &str> = files
        .iter()
        .filter_map(|file| Some((module_of(file.path.strip_prefix(&source)?)?, production(&file.text))))
        .collect();
    let known: BTreeSet<&String> = modules.keys().collect();
    let used = |module: &str, text: &str| {
        let paths = paths(text).into_iter().filter_map(|path| absolute(module, &path));
        // The longest part of the path that is a module; the rest names what is in it.
        let modules = paths.filter_map(|path| {
            let parts: Vec<&str> = path.split("::").collect();
            (1..=parts.len())
                .rev()
                .map(|count| parts.get(..count).unwrap_or_default().join("::"))
                .find(|part| known.contains(part))
        });
        modules.filter(|used| used != module && !is_within(module, used)).collect()
    };
    modules.iter().map(|(module, text)| (module.clone(), used(module, text))).collect()
}

/// A parent that lists its children is no use of them, nor is a child's word about its own parent.
fn is_within(one: &str, other: &str) -> bool {
    one.starts_with(&format!("{other}::")) || other.starts_with(&format!("{one}::"))
}

fn module_of(path: &str) -> Option<String> {
    let module = path.strip_suffix(".rs")?;
    let module = module.strip_suffix("/mod").unwrap_or(module);
    let is_left_out =
        matches!(module, "lib" | "main") || module.split('/').any(|part| matches!(part, "tests" | "testing"));
    (!is_left_out).then(|| module.replace('/', "::"))
}

/// The text without its tests, which stand at the end, and without comments.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// Every path in `use` trees and in the code, with `{...}` opened.
fn paths(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let is_word_before =
            code[..at].bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':');
        if !is_word_before {
            open(&code[at..], "", &mut found);
        }
    }
    found
}

/// Opens one tree, as in `a::{b, c::{d, e}}`; gives what comes after it.
fn open<'t>(tree: &'t str, before: &str, found: &mut Vec<String>) -> &'t str {
    let end = tree.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(tree.len());
    let (path, mut rest) = tree.split_at(end);
    let path = format!("{before}{path}");
    if !(path.ends_with("::") && rest.starts_with('{')) {
        found.push(path.trim_end_matches("::").to_owned());
        return rest;
    }
    rest = &rest[1..];
    loop {
        rest = rest.trim_start();
        rest = open(rest, &path, found).trim_start();
        match rest.strip_prefix(',') {
            Some(more) if !more.trim_start().starts_with('}') => rest = more,
            Some(more) => return more.trim_start().trim_start_matches('}'),
            None => return rest.strip_prefix('}').unwrap_or_default(),
        }
    }
}

/// A path from the crate's root, without `crate::` and `super::`.
fn absolute(module: &str, path: &str) -> Option<String> {
    if let Some(path) = path.strip_prefix("crate::") {
        return Some(path.to_owned());
    }
    let mut parts: Vec<&str> = module.split("::").collect();
    let mut rest = path;
    while let Some(path) = rest.strip_prefix("super::") {
        parts.pop()?;
        rest = path;
    }
    parts.push(rest);
    Some(parts.join("::"))
}

/// Groups of modules each of which reaches each other.
fn cycles(uses: &Uses) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = uses.keys().map(|from| (from, reach(uses, from))).collect();
    let mut cycles: Vec<BTreeSet<String>> = Vec::new();
    for (one, from_one) in &reached {
        if cycles.iter().any(|cycle| cycle.contains(*one)) || !from_one.contains(*one) {
            continue;
        }
        let cycle = from_one.iter().filter(|other| reached.get(**other).is_some_and(|back| back.contains(*one)));
        cycles.push(cycle.map(|module| (*module).clone()).collect());
    }
    cycles
}

fn reach<'u>(uses: &'u Uses, from: &String) -> BTreeSet<&'u String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&String> = uses.get(from).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(uses.get(module).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn trees_are_opened() {
        let found = paths("use crate::{a::{B, c::D}, e};\nlet x = super::f::g(); // crate::no\nmycrate::no();");
        assert_eq!(found, ["crate::a::B", "crate::a::c::D", "crate::e", "super::f::g"]);
    }

    #[test]
    fn a_cycle_is_found_and_what_hangs_on_it_is_not() {
        let files = [
            file("server/src/a.rs", "use crate::b::B;"),
            file("server/src/b/mod.rs", "use crate::c::{self, C};"),
            file("server/src/c.rs", "fn c() { crate::a::go() }"),
            file("server/src/d.rs", "use crate::a::A;"),
            file("server/src/e.rs", "use crate::d::D;\n#[cfg(test)]\nmod tests { use crate::f::F; }"),
            file("server/src/f.rs", "use super::e::E;"),
            file("server/src/b/child.rs", "use super::{B, other};"),
        ];
        let uses = uses("server", &files.iter().collect::<Vec<_>>());
        let cycles = cycles(&uses);
        assert_eq!(cycles.len(), 1);
        let names: Vec<&str> = cycles[0].iter().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(broken(&uses), ["server: these modules import one another in a cycle: a b c"]);
    }
}
