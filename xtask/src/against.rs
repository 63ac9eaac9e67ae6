//! This build beside an earlier one: the same rehearsals by both, in turn, so that whatever slows the machine down slows both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::shell::{self, Failed, root, say};

/// What is measured: a release manager's fleet, 12,000 terminals at forty sites.
const SCENARIO: &str = "scenarios/twelve-thousand-terminals.toml";
/// How it is rehearsed, by name.
const WAYS: [(&str, &[&str]); 2] =
    [("a rehearsal", &["--signatures", "modelled"]), ("a trial", &["--signatures", "modelled", "--trials", "1"])];
/// How often each build does it. An odd number, so that one of them is in the middle.
const TIMES: usize = 3;
/// Where the programs and their runs are.
const FOLDER: &str = "target/against";

/// Builds the revision as it is shipped, and this one; rehearses with both, and shows how long each takes.
pub(crate) fn run(revision: &str) -> Result<(), Failed> {
    let commit = commit_of(revision)?;
    let tree = root().join(FOLDER).join(&commit);
    let builds = built_there(&tree, &commit).and_then(|earlier| Ok([earlier, built(root(), "today")?]));
    let removed = shell::run("git", &["worktree", "remove", "--force", &tree.display().to_string()]);
    let builds = builds?;
    removed?;
    let mut table = format!("seconds, each {TIMES} times in turn: the middle one (and all)\n");
    for (name, flags) in WAYS {
        let mut took: [Vec<f64>; 2] = Default::default();
        for _ in 0..TIMES {
            for (build, took) in builds.iter().zip(&mut took) {
                took.push(seconds(build, flags)?);
            }
        }
        let [earlier, today] = took.map(|mut took| {
            let all: Vec<String> = took.iter().map(|seconds| format!("{seconds:.1}")).collect();
            took.sort_by(f64::total_cmp);
            (took.get(TIMES / 2).copied().unwrap_or_default(), all.join(", "))
        });
        let ratio = today.0 / earlier.0;
        table += &format!("{name}: {commit:.12} {:.1} ({}), today {:.1} ({})", earlier.0, earlier.1, today.0, today.1);
        table += &format!(": {ratio:.2} times as long\n");
    }
    say(&table);
    Ok(())
}

/// The commit that a revision names.
fn commit_of(revision: &str) -> Result<String, Failed> {
    let commit = format!("{revision}^{{commit}}");
    let output = Command::new("git").current_dir(root()).args(["rev-parse", "--verify", "--quiet", &commit]).output();
    let output = output.map_err(|error| Failed(format!("`git` can't be run: {error}")))?;
    let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if commit.is_empty() { Err(Failed(format!("there is no revision `{revision}`"))) } else { Ok(commit) }
}

/// The program of an earlier commit, built in a work tree beside this one.
fn built_there(tree: &Path, commit: &str) -> Result<PathBuf, Failed> {
    let path = tree.display().to_string();
    if !tree.exists() {
        shell::run("git", &["worktree", "add", "--detach", &path, commit])?;
    }
    built(tree, "earlier")
}

/// Builds the program in a work tree, in the target directory of this one: what both depend on is compiled once.
fn built(tree: &Path, name: &str) -> Result<PathBuf, Failed> {
    let target = root().join("target").display().to_string();
    let build = ["build", "--profile", "dist", "--package", "ks-fleet", "--target-dir", &target];
    shell::run_in(tree, option_env!("CARGO").unwrap_or("cargo"), &build)?;
    let (from, to) = (root().join("target/dist/ks-fleet"), root().join(FOLDER).join(name));
    fs::copy(&from, &to).map_err(|error| Failed(format!("{}: {error}", from.display())))?;
    Ok(to)
}

/// How long a build takes for the rehearsal.
#[expect(clippy::disallowed_methods, reason = "a stopwatch of the outer edge")]
fn seconds(build: &Path, flags: &[&str]) -> Result<f64, Failed> {
    let out = format!("{FOLDER}/run");
    let _ = fs::remove_dir_all(root().join(&out)); // of a run that was interrupted
    let started = Instant::now();
    shell::run(&build.display().to_string(), &[&["rehearse", SCENARIO, "--quiet", "--out", &out], flags].concat())?;
    Ok(started.elapsed().as_secs_f64())
}
