//! Goal: what a page shows of a terminal is what a terminal shows.
//! Method: each ```console block of these pages says on the line above it whether it is run: `<!-- run -->`, or
//! `<!-- run: FILE -->` with the nearest ```toml or ```text block above it as FILE, or `<!-- not run: WHY -->`. Blocks of a page share a
//! folder, in which `scenarios/` is. In what is expected a line `...` stands for any lines, and ` ...` at the end of a line for
//! any rest of it. Standard output and standard error are compared as one. `ks-server` commands and the URL of a server are of one that
//! runs meanwhile on a database in the folder.

use std::{fs::File, io::Read, path::Path, process::Stdio};

use crate::support::{Server, TOKEN, fleet};

/// A ```console block: its mark, where it begins, its lines, and the ```toml or ```text block above it.
struct Block {
    mark: String,
    line: usize,
    lines: Vec<String>,
    toml: String,
}

/// Every ```console block of a page.
fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut toml, mut above) = (Vec::new(), String::new(), "");
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<String> =
                lines.by_ref().map(|(_, line)| line.to_owned()).take_while(|line| line != "```").collect();
            match language {
                "toml" | "text" => toml = inside.join("\n") + "\n",
                "console" => {
                    blocks.push(Block { mark: above.to_owned(), line: number + 1, lines: inside, toml: toml.clone() });
                }
                _ => {}
            }
        }
        above = line;
    }
    blocks
}

/// The server of a page.
const URL: &str = "http://127.0.0.1:3000";

/// Runs one `ks-fleet ...` or `ks-server ...` in a folder, and gives the lines that it wrote.
fn run(folder: &Path, command: &str, server: Option<&Server>) -> Vec<String> {
    let url = server.map(|server| format!("http://{}", server.address));
    let command = command.replace(URL, url.as_deref().unwrap_or(URL));
    let (program, arguments) = command.split_once(' ').unwrap();
    let within: &[&str] = match program {
        "ks-fleet" => &[],
        "ks-server" => &["embedded-server"],
        _ => panic!("{command}: only ks-fleet and ks-server are run"),
    };
    let written = folder.join(".written");
    let output = File::create(&written).unwrap();
    fleet()
        .args(within)
        .args(arguments.split_whitespace())
        .env("ADMIN_TOKEN", TOKEN)
        .env("DATABASE_URL", format!("file:{}", folder.join("ks.sqlite").display()))
        .current_dir(folder)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    let mut text = String::new();
    File::open(&written).unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Whether lines are as expected.
fn fits(expected: &[String], written: &[String]) -> bool {
    match expected.split_first() {
        None => written.is_empty(),
        Some((line, rest)) if line.trim() == "..." => {
            (0..=written.len()).any(|skipped| fits(rest, &written[skipped..]))
        }
        Some((line, rest)) => written.split_first().is_some_and(|(first, others)| {
            let is_same = line == first || line.strip_suffix(" ...").is_some_and(|start| first.starts_with(start));
            is_same && fits(rest, others)
        }),
    }
}

/// Runs the blocks of a page, and gives how many were run.
fn check(page: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root.join("scenarios"), folder.path().join("scenarios")).unwrap();
    let mut run_count = 0;
    let text = std::fs::read_to_string(root.join(page)).unwrap();
    let server = text.contains(&format!("--target {URL} ")).then(|| Server::start(folder.path(), &[]));
    for block in blocks(&text) {
        let at = format!("{page}, line {}", block.line);
        let mark = block.mark.strip_prefix("<!-- ").and_then(|mark| mark.strip_suffix(" -->")).unwrap_or_default();
        match mark.split_once(": ").unwrap_or((mark, "")) {
            ("not run", why) if !why.is_empty() => continue,
            ("run", "") => {}
            ("run", file) => std::fs::write(folder.path().join(file), &block.toml).unwrap(),
            _ => panic!("{at}: a console block without a mark above it: `<!-- run -->` or `<!-- not run: WHY -->`"),
        }
        let mut lines = block.lines.iter().peekable();
        while let Some(command) = lines.next() {
            let command = command.strip_prefix("$ ").unwrap_or_else(|| panic!("{at}: expected a command"));
            let mut expected = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                expected.push(line.clone());
            }
            let written = run(folder.path(), command, server.as_ref());
            assert!(
                fits(&expected, &written),
                "{at}: `{command}`\nexpected:\n{}\nwritten:\n{}",
                expected.join("\n"),
                written.join("\n")
            );
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
    assert_eq!(check("docs/canary-tutorial.md"), 3);
}

#[test]
fn only_what_is_elided_may_differ() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a\n...\nd ...\n"), &lines("a\nb\nc\nd 7")));
    assert!(!fits(&lines("a\n...\nd"), &lines("a\nb\nc")) && !fits(&lines("a"), &lines("a\nb")));
    assert!(!fits(&lines("event log 1"), &lines("event log 2")));
}
