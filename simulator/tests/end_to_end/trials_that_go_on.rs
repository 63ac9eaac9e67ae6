//! Goal: trials that end early lose nothing, say so, and continue to the same bytes; what can't be continued is refused.
//! Method: the real executable; a signal, a kill, a torn line, and folders that are not those of the same trials.

use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
};

use crate::support::{fleet, fleet_in, stderr_of};
use serde_json::Value;

const POLICY: &str = r#"lost_after_s = 600
confirm_window_s = 60
stages = [{ share_bp = 5000, min_executed = 5, bake_s = 600 }, { share_bp = 10000, min_executed = 5, bake_s = 60 }]
gates = [{ threshold_bp = 1000, min_executed = 5, test = { kind = "raw" }, action = "abort" }]
"#;

/// What is tried: two policies, of which `blind` accepts nearly everything, with a good release and one that breaks half of the devices.
const TRIALS: [&str; 9] = [
    "rehearse",
    "canary.toml",
    "--signatures=modelled",
    "--policy",
    "careful.toml",
    "--policy",
    "blind.toml",
    "--bug-rates",
    "0,50",
];

/// Trials of each policy at each rate: 40 in all, so that most are still to be made when the sixth is on the disk.
const TRIALS_EACH: &str = "10";

fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let scenario = format!(
        "name = \"small-canary\"\ngoal = \"A small canary.\"\nmode = \"rehearse\"\nseed = 11\nduration = \"4h\"\n\
         [fleet]\ndevices = 20\nheartbeat_interval = \"1m\"\n[[firmware]]\nversion = \"2\"\ncounter = 2\nsize_kib = 8\n\
         [[policy]]\nname = \"own\"\n{POLICY}[[timeline]]\nat = \"10m\"\ndo = \"start_rollout\"\nfirmware = \"2\"\n\
         policy = \"own\"\n[[expect]]\nmetric = \"updated.2\"\nequals = 20\n"
    );
    std::fs::write(folder.path().join("canary.toml"), scenario).unwrap();
    std::fs::write(folder.path().join("careful.toml"), POLICY).unwrap();
    let blind = POLICY.replace("threshold_bp = 1000", "threshold_bp = 9900");
    std::fs::write(folder.path().join("blind.toml"), blind).unwrap();
    folder
}

fn run(folder: &Path, flags: &[&str]) -> Output {
    fleet_in(folder, &[TRIALS.as_slice(), flags].concat())
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The folder of trials that were not interrupted.
fn whole(folder: &Path, trials: &str) {
    let output = run(folder, &["--trials", trials, "--quiet", "--out", "whole"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
}

/// The trials of a folder, without how long each took, which must be a time.
fn untimed(folder: &Path) -> Vec<Value> {
    let timed = crate::support::lines_in(folder, "trials.ndjson");
    let untimed = |mut line: Value| {
        let wall_s = line.as_object_mut().unwrap().remove("wall_s").unwrap();
        assert!(wall_s.as_f64().is_some_and(|wall_s| wall_s > 0.0), "{wall_s}");
        line
    };
    timed.into_iter().map(untimed).collect()
}

/// The results of two folders are equal, byte for byte, but for how long each trial took; JUnit has the time at which it was written.
fn assert_same_results(folder: &Path, one: &str, other: &str) {
    assert_eq!(untimed(&folder.join(one)), untimed(&folder.join(other)));
    let files = ["trials.json", "score.json", "score.html", "score.md", "operating_characteristic.svg"];
    for name in files {
        assert_eq!(read(folder, &format!("{one}/{name}")), read(folder, &format!("{other}/{name}")), "{name}");
    }
    let cases = |of: &str| read(folder, &format!("{of}/junit.xml")).matches("<testcase").count();
    assert_eq!(cases(one), cases(other));
}

/// Starts trials and gives the process once so many of them are on the disk.
fn begun(folder: &Path, out: &str, trials: usize) -> std::process::Child {
    let mut command = fleet();
    command.args(TRIALS).args(["--trials", TRIALS_EACH, "--quiet", "--out", out]).current_dir(folder);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let file = folder.join(out).join("trials.ndjson");
    while std::fs::read_to_string(&file).unwrap_or_default().lines().count() < trials {
        assert!(running.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running
}

/// Trials of each policy at each rate.
fn trials_made(score: &Value) -> Vec<u64> {
    let cells = score["policies"].as_array().unwrap().iter().flat_map(|policy| policy["cells"].as_array().unwrap());
    cells.map(|cell| cell["trials"].as_u64().unwrap()).collect()
}

/// The two share the trials that were not interrupted, which are most of the work.
#[test]
fn trials_that_are_interrupted_or_killed_continue_to_the_same_bytes() {
    let folder = files();
    whole(folder.path(), TRIALS_EACH);
    interrupted(folder.path());
    std::fs::remove_dir_all(folder.path().join("part")).unwrap();
    killed(folder.path());
}

/// Interrupted trials are equally many of each policy.
fn interrupted(folder: &Path) {
    let running = begun(folder, "part", 6);
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr_of(&output));
    assert!(
        stderr_of(&output).contains("interrupted; to continue: ks-fleet rehearse --resume part"),
        "{}",
        stderr_of(&output)
    );
    let score: Value = serde_json::from_str(&read(folder, "part/score.json")).unwrap();
    assert_eq!(score["state"], "interrupted");
    let made = trials_made(&score);
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    let apart = made.iter().max().unwrap() - made.iter().min().unwrap();
    assert!(made.len() == 4 && apart <= 1 + cores.div_ceil(4), "every policy and rate is tried as often: {made:?}");
    assert!(read(folder, "part/score.html").contains("of 40 trials, interrupted"));
    let junit = read(folder, "part/junit.xml");
    assert!(junit.contains("errors=\"1\"") && junit.contains("interrupted; to continue"), "{junit}");

    let output = fleet_in(folder, &["rehearse", "--resume", "part", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_same_results(folder, "whole", "part");
    let junit = read(folder, "part/junit.xml");
    assert!(junit.contains("tests=\"5\" failures=\"0\" errors=\"0\""), "{junit}");
}

/// A line that was torn when they were killed is dropped.
fn killed(folder: &Path) {
    let mut running = begun(folder, "part", 3);
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(
        read(folder, "part/score.html").contains("http-equiv=\"refresh\""),
        "the page of running trials reloads itself"
    );
    assert!(read(folder, "part/junit.xml").contains("it was killed, or is still running"));
    let mut file = std::fs::OpenOptions::new().append(true).open(folder.join("part/trials.ndjson")).unwrap();
    file.write_all(b"{\"policy\":\"careful\",\"bug_ra").unwrap();
    // The whole command again, with the folder.
    let output = run(folder, &["--trials", TRIALS_EACH, "--quiet", "--resume", "part"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_same_results(folder, "whole", "part");
    assert!(!read(folder, "part/score.html").contains("http-equiv=\"refresh\""));
}

#[test]
fn more_trials_continue_fewer_ones_to_the_same_bytes() {
    let folder = files();
    let folder = folder.path();
    whole(folder, "3");
    assert_eq!(run(folder, &["--trials", "2", "--quiet", "--out", "part"]).status.code(), Some(0));
    let output = fleet_in(folder, &["rehearse", "--resume", "part", "--trials", "3", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_same_results(folder, "whole", "part");
    let refused = fleet_in(folder, &["rehearse", "--resume", "part", "--trials", "2"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr_of(&refused).contains("trials beyond the first 2 seeds"), "{}", stderr_of(&refused));
}

#[test]
fn a_budget_ends_trials_after_those_under_way_and_says_so() {
    let folder = files();
    let folder = folder.path();
    let output = run(folder, &["--trials", "100000", "--budget", "1s", "--quiet", "--out", "part"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr_of(&output));
    let stderr = stderr_of(&output);
    assert!(
        stderr.contains("ended by the budget of time, 1s; to continue: ks-fleet rehearse --resume part"),
        "{stderr}"
    );
    assert!(read(folder, "part/junit.xml").contains("ended by the budget of time, 1s"));
    assert!(read(folder, "part/score.html").contains("ended by the budget of time"));
    assert!(read(folder, "part/trials.ndjson").ends_with('\n'));
}

#[test]
fn trials_end_once_the_policies_are_distinguished() {
    let folder = files();
    let folder = folder.path();
    let output = run(folder, &["--trials", "500", "--until", "distinguished", "--json", "--quiet", "--out", "d"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let score = &serde_json::from_slice::<Value>(&output.stdout).unwrap()["score"];
    assert_eq!(score["state"], "goal_reached");
    let made = trials_made(score);
    // A difference on every seed is shown after eleven, if 5 % are shared among four intervals.
    assert!(made.iter().all(|of| *of == made[0]) && (11..=20).contains(&made[0]), "{made:?}");
    let lines = untimed(&folder.join("d"));
    let replay = lines[3]["replay"].as_str().unwrap();
    let flags = "--signatures modelled --trials 1 --policy blind.toml --bug-rates 50 --seed 11";
    assert_eq!(replay, format!("ks-fleet rehearse canary.toml {flags}"));
    let words: Vec<&str> = replay.split(' ').skip(1).chain(["--quiet", "--out", "r"]).collect();
    assert_eq!(fleet_in(folder, &words).status.code(), Some(0));
    assert_eq!(untimed(&folder.join("r")), lines[3..4], "the same trial again");
    let junit = read(folder, "d/junit.xml");
    let times = junit.split("<testcase ").skip(1).filter(|case| !case.contains("time=\"0.000\"")).count();
    assert_eq!(times, 4, "each policy with each rate took a time: {junit}");
    let again = fleet_in(folder, &["rehearse", "--resume", "d", "--json", "--quiet"]);
    assert_eq!(again.stdout, output.stdout, "there is nothing left to do");
    // A goal that is out of reach is no result.
    let output = run(folder, &["--trials", "2", "--until", "width=5%", "--quiet", "--out", "w"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr_of(&output));
    assert!(
        stderr_of(&output).contains("finished, but not all limits of shares are within 5 points"),
        "{}",
        stderr_of(&output)
    );
}

#[test]
fn what_can_not_be_continued_or_contradicts_itself_is_refused_with_what_to_do() {
    let folder = files();
    let folder = folder.path();
    assert_eq!(run(folder, &["--trials", "1", "--quiet", "--out", "part"]).status.code(), Some(0));
    let before = read(folder, "part/trials.ndjson");
    let refused = |arguments: &[&str], why: &str| {
        let output = fleet_in(folder, arguments);
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
        assert_eq!(read(folder, "part/trials.ndjson"), before);
    };
    let resume = ["rehearse", "--resume", "part"];
    refused(&["rehearse", "--resume", "."], "it has no trials.json, so it is not the folder of trials");
    refused(&["rehearse", "--resume", "missing"], "it has no trials.json");
    refused(&[&resume[..], &["--seed", "12"]].concat(), "--seed: it was begun with the scenario's");
    refused(&[&resume[..], &["--signatures", "real"]].concat(), "--signatures: it was begun with modelled");
    refused(&[&resume[..], &["--bug-rates", "0,1"]].concat(), "it was begun with the bug rates: 0 %, 50 %");
    refused(
        &[&resume[..], &["--policy", "blind.toml"]].concat(),
        "it was begun with the policies: careful.toml, blind.toml",
    );
    refused(&[&resume[..], &["--out", "other"]].concat(), "cannot be used with");
    refused(&["rehearse", "canary.toml", "--budget", "20m"], "--budget is for many trials: add --trials N");
    refused(&["rehearse", "canary.toml", "--trials", "2", "--budget", "0s"], "expected a duration from 1s to 7d");
    refused(&["rehearse", "canary.toml", "--trials", "2", "--until", "soon"], "expected `distinguished`, or a width");
    refused(
        &["rehearse", "canary.toml", "--trials", "2", "--until", "distinguished"],
        "give two or more with --policy",
    );
    refused(&["rehearse"], "required");

    let asked = read(folder, "part/trials.json");
    std::fs::write(folder.join("part/trials.json"), asked.replace("build ", "build 0")).unwrap();
    refused(&resume, "it was begun by ks-fleet");
    std::fs::write(folder.join("part/trials.json"), asked).unwrap();
    for (file, why) in
        [("canary.toml", "the scenario canary.toml is not"), ("blind.toml", "the policy blind.toml is not")]
    {
        let text = read(folder, file);
        std::fs::write(folder.join(file), format!("# Changed.\n{text}")).unwrap();
        refused(&resume, why);
        std::fs::write(folder.join(file), text).unwrap();
    }
    let twice = before.lines().next().unwrap().to_owned() + "\n";
    for (more, why) in [
        (twice.as_str(), "line 5: policy `careful`, seed 11: this trial is there twice"),
        ("{}\n", "line 5: expected a trial"),
    ] {
        std::fs::write(folder.join("part/trials.ndjson"), format!("{before}{more}")).unwrap();
        let output = fleet_in(folder, &resume);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr_of(&output).contains(why), "{}", stderr_of(&output));
        let by = "are continued by `ks-fleet rehearse --resume part`";
        assert!(stderr_of(&output).contains(by), "the folder, not its file: {}", stderr_of(&output));
    }
}

/// Goal: trials of one scenario leave a page and a short form too, also if nothing is rolled out.
#[test]
fn trials_without_policies_leave_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"s\"\ngoal = \"Nothing is rolled out.\"\nmode = \"rehearse\"\nseed = 5\nduration = \"1m\"\n[fleet]\ndevices = 2\nheartbeat_interval = \"10s\"\n[[expect]]\nmetric = \"errors\"\nmin = 1\n";
    std::fs::write(folder.path().join("s.toml"), text).unwrap();
    let output = fleet_in(folder.path(), &["rehearse", "s.toml", "--trials", "3", "--quiet", "--out", "t"]);
    assert_eq!(output.status.code(), Some(99), "{}", stderr_of(&output));
    let page = read(folder.path(), "t/score.html");
    assert!(page.contains("3 of 3 trials, finished") && page.contains("0 of 3 trials passed: 0.0 to 70.8 %"), "{page}");
    assert!(page.contains("ks-fleet rehearse s.toml --seed 6") && !page.contains("<svg"), "{page}");
    assert!(read(folder.path(), "t/score.md").contains("0 of 3 trials passed"));
    assert!(read(folder.path(), "t/junit.xml").contains("tests=\"3\" failures=\"3\" errors=\"0\""));
    let drawn = fleet_in(folder.path(), &["report", "t"]);
    assert_eq!(drawn.status.code(), Some(0), "{}", stderr_of(&drawn));
    assert_eq!(page, read(folder.path(), "t/score.html"));
}
