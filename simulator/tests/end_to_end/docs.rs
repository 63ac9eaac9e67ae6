//! Goal: what a page shows of a terminal is what a terminal shows.
//! Method: each ```console block of these pages says on the line above it whether it is run: `<!-- run -->`, `<!-- run on NAME -->` on
//! the database NAME.sqlite, or `<!-- not run: WHY -->`. With `: FILE` at the end, as in `<!-- run: FILE -->`, the nearest ```toml or
//! ```text block above is that file; `<!-- file: FILE -->` above such a block makes it one. Blocks of a page share a folder, in which
//! `scenarios/` is, and a shell. In what is expected a line `...` stands for any lines, and ` ...` at the end of a line for any rest of
//! it. Keys, their names and signatures differ from run to run: they must be of the same form, and the same ones wherever the page has
//! the same ones again. Standard output and standard error are compared as one. `ks-server` commands and the URL of a server are of one
//! that runs meanwhile on a database in the folder.

mod rollouts;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Server, TOKEN};
use ks_fleet::{scenario, scenario_settings::ScenarioSettings};
use ks_server::rollout::policy::Policy;

/// A block of a page: its language, the line above it, where it begins, and its lines.
struct Block {
    language: String,
    mark: String,
    line: usize,
    lines: Vec<String>,
}

impl Block {
    fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }

    /// What the comment above it says.
    fn mark(&self) -> &str {
        self.mark.strip_prefix("<!-- ").and_then(|mark| mark.strip_suffix(" -->")).unwrap_or_default()
    }
}

/// Every block of a page.
fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut above) = (Vec::new(), "");
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<String> =
                lines.by_ref().map(|(_, line)| line.to_owned()).take_while(|line| line != "```").collect();
            let language = language.to_owned();
            blocks.push(Block { language, mark: above.to_owned(), line: number + 1, lines: inside });
        }
        above = line;
    }
    blocks
}

/// The server of a page.
const URL: &str = "http://127.0.0.1:3000";

/// A folder in which the commands of a page are run.
struct Shell<'s> {
    folder: &'s Path,
    server: Option<Server>,
    /// The time of day that commands see, if it is not the real one.
    clock: Option<&'s str>,
    /// The server's settings where a database is used: its name, that of the setting, and the value.
    settings: &'s [(&'s str, &'s str, &'s str)],
}

impl<'s> Shell<'s> {
    fn new(folder: &'s Path, clock: Option<&'s str>) -> Self {
        let programs = folder.join(".bin");
        std::fs::create_dir(&programs).unwrap();
        for (name, within) in [("ks-fleet", ""), ("ks-server", "embedded-server ")] {
            let path = programs.join(name);
            std::fs::write(&path, format!("#!/bin/sh\nexec {} {within}\"$@\"\n", env!("CARGO_BIN_EXE_ks-fleet")))
                .unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios"), folder.join("scenarios")).unwrap();
        Self { folder, server: None, clock, settings: &[] }
    }

    /// Runs a command on a database, and gives the lines that it wrote.
    fn run(&self, command: &str, database: &str) -> Vec<String> {
        let url = self.server.as_ref().map(|server| format!("http://{}", server.address));
        let command = command.replace(URL, url.as_deref().unwrap_or(URL));
        let mut shell = Command::new(if self.clock.is_some() { "faketime" } else { "sh" });
        shell.args(self.clock.into_iter().flat_map(|clock| ["-f", clock, "sh"])).args(["-c", &command]);
        #[expect(
            clippy::disallowed_methods,
            reason = "programs of the page are found first, then those of the machine"
        )]
        let path = std::env::var("PATH").unwrap_or_default();
        let settings = self.settings.iter().filter(|(of, ..)| *of == database);
        let written = self.folder.join(".written");
        let output = File::create(&written).unwrap();
        shell
            .envs([("ADMIN_TOKEN", TOKEN), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("TZ", "UTC")])
            .env("PATH", format!("{}:{path}", self.folder.join(".bin").display()))
            .env("DATABASE_URL", format!("file:{}", self.folder.join(format!("{database}.sqlite")).display()))
            .envs(settings.map(|(_, name, value)| (name, value)))
            .current_dir(self.folder)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .stdin(Stdio::null())
            .status()
            .unwrap();
        let mut text = String::new();
        File::open(&written).unwrap().read_to_string(&mut text).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// What differs from run to run: what the page has, and what there was instead.
type Bound = BTreeMap<String, String>;

/// The form of a key's name, a key or a signature: its length.
fn random_form(word: &str) -> Option<usize> {
    let is_name = word.len() == 17
        && word.strip_prefix('k').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let is_base64 = matches!(word.len(), 44 | 88) && word.ends_with('=');
    (is_name || is_base64).then_some(word.len())
}

/// Compares two lines word by word; gives what is then bound, if they fit.
fn line_fits(expected: &str, written: &str, mut bound: Bound) -> Option<Bound> {
    let is_word = |byte: char| byte.is_ascii_alphanumeric() || "+/=".contains(byte);
    let words = |line: &str| line.split_inclusive(|byte| !is_word(byte)).map(str::to_owned).collect::<Vec<_>>();
    let (words, others) = (words(expected), words(written));
    for (word, other) in words.iter().zip(&others).filter(|(word, other)| word != other) {
        let [word, other] = [word, other].map(|of| of.trim_end_matches(|byte| !is_word(byte)));
        if random_form(word).is_none() || random_form(word) != random_form(other) {
            return None;
        }
        if bound.entry(word.to_owned()).or_insert_with(|| other.to_owned()) != other {
            return None;
        }
    }
    (words.len() == others.len()).then_some(bound)
}

/// Compares lines; gives what is then bound, if they are as expected.
fn fits(expected: &[String], written: &[String], bound: &Bound) -> Option<Bound> {
    match expected.split_first() {
        None => written.is_empty().then(|| bound.clone()),
        Some((line, rest)) if line.trim() == "..." => {
            (0..=written.len()).find_map(|skipped| fits(rest, &written[skipped..], bound))
        }
        Some((line, rest)) => {
            let (first, others) = written.split_first()?;
            let start = line.strip_suffix(" ...").and_then(|start| first.starts_with(start).then(|| bound.clone()));
            fits(rest, others, &start.or_else(|| line_fits(line, first, bound.clone()))?)
        }
    }
}

/// Runs the blocks of a page, and gives how many were run.
fn check(page: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    check_in(page, Shell::new(folder.path(), None))
}

fn check_in(page: &str, mut shell: Shell<'_>) -> usize {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page)).unwrap();
    if text.contains(&format!("--target {URL} ")) {
        shell.server = Some(Server::start(shell.folder, &[]));
    }
    let (mut run_count, mut bound, mut above) = (0, Bound::new(), String::new());
    for block in blocks(&text) {
        let at = format!("{page}, line {}", block.line);
        if block.language != "console" {
            if let Some(file) = block.mark().strip_prefix("file: ") {
                std::fs::write(shell.folder.join(file), block.text()).unwrap();
            }
            above = if matches!(&*block.language, "toml" | "text") { block.text() } else { above };
            continue;
        }
        let (what, of) = block.mark().split_once(": ").unwrap_or((block.mark(), ""));
        if what == "not run" && !of.is_empty() {
            continue;
        }
        let database = match what {
            "run" => "ks",
            _ => what.strip_prefix("run on ").unwrap_or_else(|| {
                panic!("{at}: a console block without a mark above it: `<!-- run -->` or `<!-- not run: WHY -->`")
            }),
        };
        if !of.is_empty() {
            std::fs::write(shell.folder.join(of), &above).unwrap();
        }
        let mut lines = block.lines.iter().peekable();
        while let Some(line) = lines.next() {
            let mut command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{at}: expected a command")).to_owned();
            while command.ends_with('\\') {
                command = format!("{command}\n{}", lines.next().unwrap());
            }
            for (word, other) in &bound {
                command = command.replace(word, other);
            }
            let mut expected = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                expected.push(line.clone());
            }
            let written = shell.run(&command, database);
            let fitting = fits(&expected, &written, &bound);
            bound = fitting.unwrap_or_else(|| {
                let [expected, written] = [expected, written].map(|lines| lines.join("\n"));
                panic!("{at}: `{command}`\nexpected:\n{expected}\nwritten:\n{written}")
            });
        }
        run_count += 1;
    }
    run_count
}

#[test]
fn what_pages_show_of_a_terminal_is_what_it_shows() {
    assert_eq!(check("docs/scenarios.md"), 4);
    assert_eq!(check("docs/rehearsals.md"), 3);
}

#[test]
fn limits_are_validated_as_the_page_shows() {
    assert_eq!(check("docs/rate-limits.md"), 6);
}

#[test]
fn what_the_tutorial_shows_of_a_terminal_is_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(check_in("docs/canary-tutorial.md", Shell::new(folder.path(), None)), 3);
    // A policy that was advised can be put into the scenario as it is.
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (spring, advised) = (read("spring.toml"), read("advice/few-false-alarms.toml"));
    let (before, rest) = spring.split_once("stages = [").unwrap();
    let (_, after) = rest.split_once("[[timeline]]").unwrap();
    let text = format!("{before}{advised}\n[[timeline]]{after}");
    let plan = scenario::check("spring.toml", text.as_bytes(), &ScenarioSettings).unwrap();
    let mut advised: Policy = toml::from_str(&advised).unwrap();
    advised.watch_s = plan.policies["playbook"].watch_s; // which a scenario's policy has always
    assert_eq!(plan.policies["playbook"], advised, "{text}");
}

/// Goal: what the tutorial says of a number that a terminal shows is still true when that changes. Method: each sentence, and the part of
/// a block that it is about: blocks are compared with what is written.
#[test]
fn the_tutorials_sentences_are_about_what_it_shows() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/canary-tutorial.md")).unwrap();
    let sentences = page.replace('\n', " ");
    for (sentence, shown) in [
        ("Fewer than 199 KS-200 can't show it", "- Of fewer than 199 devices no policy can"),
        ("`few-false-alarms` waits for four of 573", "4 of 573"),
        ("tolerates that 0.16 % of good devices fail by themselves", "It tolerates 0.16 % of good devices"),
        (
            "finds the bug with 223 KS-200, one that waits for four needs 573",
            "stops at                             1 of 223                 4 of 573",
        ),
        ("All of them watch for eight and a half hours", "smallest-canary: 6.12 % for 8h30m"),
        ("gives the release to a fifth first", "in-steps: 3.19 % for 8h30m, then 15.96 %"),
        ("stopped in its canary, after 7 h 25 min, with 10 terminals broken", "10 (10)   7 h 25 min"),
        ("With this seed the bug would have killed 66 terminals; 10 were", "10 (10)   7 h 25 min"),
    ] {
        assert!(sentences.contains(sentence), "not in the tutorial: {sentence}");
        assert!(page.contains(shown), "no longer shown, so look at `{sentence}`: {shown}");
    }
}

#[test]
fn only_what_is_elided_may_differ() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let fits = |expected: &[String], written: &[String]| fits(expected, written, &Bound::new()).is_some();
    assert!(fits(&lines("a\n...\nd ...\n"), &lines("a\nb\nc\nd 7")));
    assert!(!fits(&lines("a\n...\nd"), &lines("a\nb\nc")) && !fits(&lines("a"), &lines("a\nb")));
    assert!(!fits(&lines("event log 1"), &lines("event log 2")));
}

#[test]
fn keys_may_differ_but_are_the_same_again() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let [own, other, third] = ["ka1c6cc904b5d22f5", "k18eaef41530c7684", "keb6baa33b03ba4c8"];
    let page = lines(&format!("key {own}.\nby {own}"));
    let bound = fits(&page, &lines(&format!("key {other}.\nby {other}")), &Bound::new()).unwrap();
    assert_eq!(bound, Bound::from([(own.to_owned(), other.to_owned())]));
    assert_eq!(fits(&page, &lines(&format!("key {other}.\nby {third}")), &Bound::new()), None);
    assert_eq!(fits(&page, &lines(&format!("key {third}.\nby {third}")), &bound), None, "it was another one before");
    assert_eq!(fits(&lines("seq 17"), &lines("seq 18"), &Bound::new()), None);
}
