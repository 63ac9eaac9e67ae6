//! The pictures of the documents, made again from the runs that they show: pages as Chromium draws them, and plots of run folders. Where a
//! document shows a command, that command is run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    scenarios::FLEET,
    shell::{self, Failed, root},
};

/// The folder that commands are run in.
const RUNS: &str = "target/pictures";
const PICTURES: &str = "docs/pictures";
const TUTORIAL: &str = "docs/canary-tutorial.md";
const REHEARSALS: &str = "docs/rehearsals.md";

/// The pictures of a run, and what makes the run and them.
type Made = (&'static [&'static str], fn() -> Result<(), Failed>);
const ALL: [Made; 4] = [
    (&["report"], report),
    (&["rollout"], rollout),
    (&["canary_size", "canary-review"], canary),
    (&["operating_characteristic", "blast_radius_and_duration"], score),
];

/// Makes the pictures of these names again; all of them if none is named.
pub(crate) fn run(named: &[&str]) -> Result<(), Failed> {
    let known: Vec<&str> = ALL.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    if let Some(unknown) = named.iter().find(|name| !known.contains(name)) {
        return Err(Failed(format!("there is no picture `{unknown}`; there are {}", known.join(", "))));
    }
    shell::needs_chromium("the pictures need")?;
    shell::build()?;
    fs::create_dir_all(runs()).map_err(|error| failed(&runs(), &error))?;
    let is_wanted = |(names, _): &&Made| named.is_empty() || names.iter().any(|name| named.contains(name));
    shell::all_of(ALL.iter().filter(is_wanted).map(|(_, make)| make()))
}

/// A load run of half a minute.
fn report() -> Result<(), Failed> {
    fleet("quickstart", &["run", "scenarios/quickstart.toml"])?;
    page("quickstart", "report", (1_000, 1_500))
}

fn rollout() -> Result<(), Failed> {
    fleet("rollout", &["rehearse", "scenarios/canary-2pct-brick.toml", "--signatures", "modelled"])?;
    page("rollout", "rollout", (1_100, 3_018))
}

/// The tutorial's fleet: what it is advised, and the rehearsal of one of the policies.
fn canary() -> Result<(), Failed> {
    let scenario = between(TUTORIAL, "```toml\n", "```")?;
    let (before, after) = scenario
        .split_once("[[policy]]")
        .and_then(|(before, rest)| Some((before, rest.split_once("[[timeline]]")?.1)))
        .ok_or_else(|| Failed(format!("the scenario of {TUTORIAL} has no policy before its timeline")))?;
    write("spring.toml", &scenario)?;
    let advise = between(TUTORIAL, "$ ks-fleet advise spring.toml ", " --out")?;
    let asked: Vec<&str> = advise.split_whitespace().collect();
    fleet("advice", &[&["advise", "target/pictures/spring.toml"], &asked[..]].concat())?;
    copy("advice/canary_size.png", "canary_size")?;
    let policy = read(&runs().join("advice/few-false-alarms.toml"))?;
    let policy = format!("[[policy]]\nname = \"playbook\"\n{policy}\n[[timeline]]");
    write("advised.toml", &format!("{before}{policy}{after}"))?;
    fleet("advised", &["rehearse", "target/pictures/advised.toml", "--signatures", "modelled", "--seed", "2"])?;
    page("advised", "canary-review", (1_000, 1_685))
}

/// The trials of docs/rehearsals.md: ten minutes.
fn score() -> Result<(), Failed> {
    let command = between(REHEARSALS, "$ ks-fleet rehearse scenarios/score-policies.toml ", "\npolicy ")?;
    let flags: Vec<&str> = command.split_whitespace().filter(|word| *word != "\\").collect();
    fleet("score", &[&["rehearse", "scenarios/score-policies.toml"], &flags[..]].concat())?;
    copy("score/operating_characteristic.png", "operating_characteristic")?;
    copy("score/blast_radius_and_duration.png", "blast_radius_and_duration")
}

/// Makes a run in this folder, and none of an earlier time is left there.
fn fleet(out: &str, arguments: &[&str]) -> Result<(), Failed> {
    let folder = runs().join(out);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    }
    shell::run(FLEET, &[arguments, &["--out", &format!("{RUNS}/{out}")]].concat())
}

/// Draws the top of a run's report, so many pixels wide and high.
fn page(run: &str, picture: &str, (width, height): (u32, u32)) -> Result<(), Failed> {
    let page =
        fs::canonicalize(runs().join(run).join("report.html")).map_err(|error| failed(&runs().join(run), &error))?;
    // Chromium can't use its sandbox as root; the page is our own.
    let drawn = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        &format!("--window-size={width},{height}"),
        &format!("--screenshot={PICTURES}/{picture}.png"),
        &format!("file://{}", page.display()),
    ];
    shell::run("chromium", &drawn)
}

/// The text of a document between two others.
fn between(document: &str, begins: &str, ends: &str) -> Result<String, Failed> {
    let text = read(&root().join(document))?;
    let inside = text.split_once(begins).and_then(|(_, rest)| Some(rest.split_once(ends)?.0));
    inside.map(str::to_owned).ok_or_else(|| Failed(format!("{document} has no `{begins}` before `{ends}`")))
}

fn copy(from: &str, picture: &str) -> Result<(), Failed> {
    let (from, to) = (runs().join(from), root().join(PICTURES).join(format!("{picture}.png")));
    fs::copy(&from, to).map(|_| ()).map_err(|error| failed(&from, &error))
}

fn write(name: &str, text: &str) -> Result<(), Failed> {
    let path = runs().join(name);
    fs::write(&path, text).map_err(|error| failed(&path, &error))
}

fn read(path: &Path) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

fn runs() -> PathBuf {
    root().join(RUNS)
}

fn failed(path: &Path, error: &std::io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}
