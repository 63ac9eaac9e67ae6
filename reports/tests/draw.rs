//! Goal: any run folder is drawn whole, self-contained and safe, and a folder that is none is refused in one clear sentence.
//! Method: folders as the simulator writes them, drawn in a temporary directory; then the files are read as a reader would.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the made-up numbers are small")]

mod support;

use std::fs;
use std::io::Cursor;
use std::path::Path;

use ks_reports::run_folder::{DECISIONS, EVENTS, LATENCY, Mode, ROLLOUTS, SUMMARY, TICKS, Verdict};
use ks_reports::{
    Artifacts, EventLogWriter, draw, read_decisions, read_latency, read_rollouts, read_summary, read_ticks,
};
use support::{
    Folder, bad_rollout, codes, expectation, good_rollout, hotfix, normal, phases, rehearsal, single, unanswered,
};

/// What is done to a file before the folder is drawn.
type Damage = fn(&Path);

const PLOTS: [&str; 4] = ["heartbeats_per_min", "latency_over_time", "percentile_curve", "codes_over_time"];
const ROLLOUT_PLOTS: [&str; 4] = ["rollout_stages", "rollout_outcomes", "gate_statistic", "firmware_distribution"];

/// Writes and draws a folder, checks what holds for every report, and gives back page, Markdown and JUnit.
fn drawn(folder: &Folder) -> (String, String, String) {
    let dir = tempfile::tempdir().unwrap();
    folder.write(dir.path());
    let drawn = draw(dir.path(), Artifacts::Full).unwrap();
    assert_eq!(drawn.report, dir.path().join("report.html"));
    let plots = if folder.rollouts.is_empty() { PLOTS.to_vec() } else { [ROLLOUT_PLOTS, PLOTS].concat() };
    assert_eq!(drawn.files.len(), plots.len() * 2 + 3);
    assert!(drawn.files.iter().all(|file| file.is_file()));
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name.to_string_lossy().starts_with('.'));
    assert!(names.is_empty(), "temporary files are left: {names:?}");
    for plot in plots {
        assert_picture_shows_something(&dir.path().join(format!("{plot}.png")));
        let svg = fs::read_to_string(dir.path().join(format!("{plot}.svg"))).unwrap();
        assert_well_formed(&svg);
        assert!(svg.contains("aria-label=") && svg.contains("sans-serif") && !svg.contains("NaN"));
    }
    let [html, markdown, junit] =
        ["report.html", "summary.md", "junit.xml"].map(|name| fs::read_to_string(dir.path().join(name)).unwrap());
    assert_self_contained(&html);
    assert_well_formed(&junit);
    (html, markdown, junit)
}

/// The page fetches nothing and runs nothing.
fn assert_self_contained(html: &str) {
    let tags: Vec<&str> = html.split('<').skip(1).filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag)).collect();
    assert!(tags.len() > 100);
    for tag in tags {
        let name = tag.split_whitespace().next().unwrap_or_default().trim_matches('/');
        assert!(
            !["script", "link", "img", "iframe", "object", "embed", "base", "image", "use"].contains(&name),
            "<{tag}>"
        );
        assert!(!tag.contains(" src=") && !tag.contains("href=") && !tag.contains(" onload"), "<{tag}>");
    }
    let (_, style) = html.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"en\">") && html.ends_with("</html>\n"));
}

/// Tags open and close in pairs, attributes are quoted, and no bare `&`, `<` or control character is left.
fn assert_well_formed(xml: &str) {
    let xml = xml.trim_start_matches("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    assert!(xml.chars().all(|sign| sign == '\n' || !sign.is_control()), "control character");
    let mut open: Vec<&str> = Vec::new();
    for (index, piece) in xml.split('<').enumerate() {
        if index == 0 {
            assert!(piece.trim().is_empty());
            continue;
        }
        let (tag, text) = piece.split_once('>').expect("a tag that ends");
        assert!(tag.matches('"').count().is_multiple_of(2), "<{tag}>");
        let entities = ["amp;", "lt;", "gt;", "quot;", "apos;", "#"];
        for after in tag.split('&').skip(1).chain(text.split('&').skip(1)) {
            assert!(entities.iter().any(|entity| after.starts_with(entity)), "bare & before {after}");
        }
        let name = tag.split_whitespace().next().unwrap().trim_matches('/');
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} never closed");
}

/// The file decodes, has the size that it declares, and is more than one colour.
fn assert_picture_shows_something(file: &Path) {
    let mut reader = png::Decoder::new(Cursor::new(fs::read(file).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.width, 1_800, "twice the page's 900 pixels");
    assert!(info.height > 500);
    let inked = pixels.chunks_exact(3).filter(|pixel| *pixel != [255, 255, 255]).count();
    assert!(inked > 5_000, "{inked} pixels are not white in {}", file.display());
}

#[test]
fn a_normal_run_is_drawn_with_its_verdict_and_numbers() {
    let (html, markdown, junit) = drawn(&normal());
    let plain = html.replace('\u{a0}', " ");
    assert!(plain.contains("✓ PASS") && plain.contains("Expectations: 4 of 4 met"));
    assert!(plain.contains("0 lost, 0 duplicated, 0 reordered, 0 misattributed"));
    assert!(plain.contains("met (allowed empty)"));
    assert_eq!(html.matches("<svg ").count(), 4);
    assert!(markdown.contains("PASS: steady-1000"));
    assert!(junit.contains("tests=\"7\" failures=\"0\" errors=\"0\" time="), "{junit}");
}

#[test]
fn one_device_and_one_tick_is_enough_for_a_report() {
    let (html, _, _) = drawn(&single());
    assert!(html.contains("1 answered heartbeat, from"));
}

#[test]
fn a_rehearsal_of_three_days_says_hours_and_why_it_failed() {
    let (html, _, junit) = drawn(&rehearsal());
    assert!(html.contains("time since the start, hours, virtual clock"));
    assert!(html.contains("✗ FAIL") && html.contains("9f86d081884c"));
    assert!(junit.contains("failures=\"2\"") && junit.contains("measured no sample"), "{junit}");
    assert!(html.len() < 600_000, "{} bytes", html.len());
    let says = |html: &str| ["Send lag", "Open sockets", "CPU time of the simulator"].map(|what| html.contains(what));
    assert_eq!(says(&html), [false, false, true], "virtual time has no lag, and no sockets");
    assert_eq!(says(&drawn(&normal()).0), [true; 3]);
}

#[test]
fn a_run_without_answers_is_drawn_with_or_without_its_latency_log() {
    let (html, _, junit) = drawn(&unanswered());
    assert!(
        html.contains("no answered heartbeats") && html.contains("? INCONCLUSIVE") && html.contains("Interrupted:")
    );
    assert!(junit.contains("errors=\"1\"") && junit.contains("skipped=\"1\""), "{junit}");
    for change in [|file: &Path| fs::remove_file(file).unwrap(), |file: &Path| fs::write(file, "").unwrap()] {
        let dir = tempfile::tempdir().unwrap();
        unanswered().write(dir.path());
        change(&dir.path().join(LATENCY));
        let report = draw(dir.path(), Artifacts::Full).unwrap().report;
        assert!(fs::read_to_string(report).unwrap().contains("no answered heartbeats"));
    }
}

#[test]
fn a_run_without_a_single_tick_is_drawn() {
    drawn(&Folder::empty("nothing", "", Mode::Load, 0, 1.0));
}

#[test]
fn a_bad_rollout_is_described_at_the_top_and_drawn() {
    let (html, markdown, _) = drawn(&bad_rollout());
    let sentence = "Release 1.1.0 broke 7 of 150 devices that installed it (4.67 %) and was aborted 6 h after the first one broke; \
                before that, gate 1 of all paused it 5 h 42 min after the first one broke; it targeted 3 000.";
    let plain = html.replace('\u{a0}', " ");
    let place = |what: &str| plain.find(what).unwrap_or_else(|| panic!("{what} is not on the page"));
    assert!(place("✗ FAIL") < place(sentence) && place(sentence) < place("<h2>Expectations"));
    assert!(place("<h2>Rollout") < place("id=\"rollout_stages\"") && place("<h2>Rollout") < place("<h2>Key numbers"));
    assert!(plain.contains("9 of 142 executed failed: lower limit 3.9 % &gt; 1 %"));
    assert!(
        plain.contains("really broken (7)") && plain.contains("When it was aborted: FAIL, 9 of 142 devices failed")
    );
    assert_eq!(html.matches("<svg ").count(), 8);
    assert!(html.len() < 800_000, "{} bytes", html.len());
    assert!(markdown.replace('\u{a0}', " ").contains(sentence));
}

#[test]
fn a_good_rollout_and_a_hotfix_after_a_bad_one_are_drawn() {
    let (html, _, _) = drawn(&good_rollout());
    let plain = html.replace('\u{a0}', " ");
    assert!(plain.contains("Release 1.1.0 was installed on 3 000 of 3 000 devices and broke none."));
    assert!(plain.contains("no update went wrong") || plain.contains("failed (12)"));
    let (html, _, _) = drawn(&hotfix());
    assert!(html.contains("2 rollouts, one after the other") && html.contains("1.1.1"));
}

#[test]
fn one_sample_of_a_rollout_is_enough_and_none_draws_nothing() {
    let mut folder = normal();
    folder.rollouts = bad_rollout().rollouts;
    folder.rollouts.drain(..100);
    folder.rollouts.truncate(1);
    let (html, _, _) = drawn(&folder);
    assert!(html.contains("<h2>Rollout"));
    let (html, markdown, _) = drawn(&normal());
    assert!(!html.contains("Rollout") && !markdown.contains("Rollout"));
}

#[test]
fn a_damaged_rollout_is_refused_in_one_sentence() {
    for (name, expected) in [(ROLLOUTS, "expected one sample of a rollout"), (DECISIONS, "expected one decision")] {
        let dir = tempfile::tempdir().unwrap();
        bad_rollout().write(dir.path());
        let file = dir.path().join(name);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 30]).unwrap();
        let error = draw(dir.path(), Artifacts::Full).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn hostile_names_are_shown_and_never_obeyed() {
    let hostile = "<script>alert('x')</script> ]]> & \" \u{0}\u{1b} | `x` <!--";
    let mut folder = normal();
    let summary = &mut folder.summary;
    (summary.scenario, summary.goal, summary.target) = (hostile.into(), hostile.into(), hostile.into());
    (summary.started_at, summary.replay) = (hostile.into(), hostile.into());
    (summary.reasons, summary.notes) = (vec![hostile.into()], vec![hostile.into()]);
    summary.verdict = Verdict::Fail;
    summary.expectations = vec![expectation(hostile, Some(1.0), hostile, hostile, false)];
    summary.phases = phases(&[(hostile, 15.0), ("]]>", 30.0)]);
    summary.requests_by_code.insert(hostile.into(), codes(&[(hostile, 3)]));
    summary
        .adversaries
        .insert(hostile.into(), ks_reports::run_folder::Attacks { attempts: 1, successes: 1, unjudged: 0 });
    folder.ticks[3].codes.insert(hostile.into(), 40);
    let bad = bad_rollout();
    (folder.rollouts, folder.decisions) = (bad.rollouts, bad.decisions);
    for sample in &mut folder.rollouts {
        sample.state = hostile.into();
        sample.gates.iter_mut().for_each(|gate| (gate.verdict, gate.of) = (hostile.into(), hostile.into()));
        sample.counts.insert(hostile.into(), 7);
        sample.versions.insert(hostile.into(), 7);
    }
    for decision in &mut folder.decisions {
        (decision.decision, decision.why) = (hostile.into(), hostile.into());
        decision.gate.iter_mut().for_each(|gate| gate.of = hostile.into());
    }
    let original = bad.summary.rollout.unwrap();
    folder.summary.rollout =
        Some(ks_reports::run_folder::RolloutSummary { release: hostile.into(), state: hostile.into(), ..original });
    let (html, markdown, junit) = drawn(&folder);
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; ]]&gt;"));
    assert!(!html.contains("<!--"));
    let (body, fence) = markdown.split_once("Run it again").unwrap();
    assert!(!body.contains("<script") && fence.contains("```sh\n<script>"));
    assert!(junit.contains("]]&gt;") && !junit.contains("]]>"));
}

#[test]
fn drawing_again_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    single().write(dir.path());
    let read = |files: &[std::path::PathBuf]| files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>();
    let first = read(&draw(dir.path(), Artifacts::Full).unwrap().files);
    assert_eq!(first, read(&draw(dir.path(), Artifacts::Full).unwrap().files));
}

#[test]
fn light_artifacts_are_the_same_page_without_a_file_for_each_plot() {
    let [full, light] = [Artifacts::Full, Artifacts::Light].map(|artifacts| {
        let dir = tempfile::tempdir().unwrap();
        single().write(dir.path());
        let drawn = draw(dir.path(), artifacts).unwrap();
        let names = drawn.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), fs::read(drawn.report).unwrap())
    });
    assert_eq!(light.0, ["summary.md", "junit.xml", "report.html"]);
    assert!(full.0.len() > 3 && full.0.ends_with(&light.0), "{:?}", full.0);
    assert_eq!(full.1, light.1);
}

#[test]
fn what_was_written_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut folder, bad) = (normal(), bad_rollout());
    (folder.rollouts, folder.decisions, folder.summary.rollout) = (bad.rollouts, bad.decisions, bad.summary.rollout);
    folder.write(dir.path());
    assert_eq!(read_summary(dir.path()).unwrap(), folder.summary);
    assert_eq!(read_ticks(dir.path()).unwrap(), folder.ticks);
    assert_eq!(read_rollouts(dir.path()).unwrap(), folder.rollouts);
    assert_eq!(read_decisions(dir.path()).unwrap(), folder.decisions);
    let samples: u64 = folder.latency.iter().map(hdrhistogram::Histogram::len).sum();
    assert_eq!(read_latency(dir.path()).unwrap().unwrap().len(), samples);
}

#[test]
fn a_folder_whose_files_do_not_belong_together_is_refused() {
    let without_its_last_lines = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        fs::write(file, lines[..lines.len() - 3].join("\n") + "\n").unwrap();
    };
    let change = |file: &Path| {
        let mut log = EventLogWriter::new(fs::File::create(file).unwrap()).unwrap();
        log.write(b"tests").unwrap();
        log.finish().unwrap();
    };
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    };
    let foreign = |file: &Path| fs::write(file, "test").unwrap();
    let backwards = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.replacen("\"simulated_s\": ", "\"simulated_s\": -", 1)).unwrap();
    };
    let cases: [(&str, Damage, &str); 8] = [
        (TICKS, without_its_last_lines, "acknowledged heartbeats, the summary"),
        (LATENCY, without_its_last_lines, "response times, the summary"),
        (LATENCY, |file| fs::remove_file(file).unwrap(), "it has 0 response times"),
        (EVENTS, change, "the SHA-256 of its lines is"),
        (EVENTS, cut, "it is cut short"),
        (EVENTS, foreign, "compressed with zstd"),
        (EVENTS, |file| fs::remove_file(file).unwrap(), "is missing"),
        (SUMMARY, backwards, "the run took -"),
    ];
    for (name, damage, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        rehearsal().write(dir.path());
        damage(&dir.path().join(name));
        let error = draw(dir.path(), Artifacts::Full).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
        assert!(!dir.path().join("report.html").exists());
    }
}

#[test]
fn a_folder_that_is_no_finished_run_is_refused_in_one_sentence() {
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 30]).unwrap();
    };
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    let newer = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
    };
    let cases: [(&str, Damage, &str); 6] = [
        (SUMMARY, remove, "summary.json is missing: the run did not finish"),
        (SUMMARY, newer, "summary.json has format 2, and this program reads formats up to 1"),
        (SUMMARY, cut, "expected the summary of a run"),
        (TICKS, remove, "ticks.ndjson is missing"),
        (TICKS, cut, "ticks.ndjson, line 30: expected one tick as a JSON object"),
        (LATENCY, cut, "latency.hlog, line 35: expected an interval of an HdrHistogram log"),
    ];
    for (name, damage, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        normal().write(dir.path());
        damage(&dir.path().join(name));
        let error = draw(dir.path(), Artifacts::Full).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n') && !dir.path().join("report.html").exists());
    }
}
