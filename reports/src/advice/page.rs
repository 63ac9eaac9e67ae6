//! `advice.html`: the answer first, then the policies side by side, the pictures, and how it was calculated. No script, nothing fetched.

use super::{Advice, AdvisedPolicy, Canary, RehearsedPolicy, words};
use crate::{
    escape::html as text,
    html::{document, labelled_cell, name_cell, pictures, section, table},
    number::grouped,
    plot::Figure,
    score::SCORE_PAGE,
};

/// The page; `has_trials`: the folder has the page of the trials too.
pub(super) fn page(of: &Advice, figures: &[Figure], has_trials: bool) -> String {
    let question = words::question(of);
    let (class, sign) =
        if words::has_few_false_alarms(of) { ("verdict pass", "✓") } else { ("verdict inconclusive", "?") };
    let sections = [
        section(class, &format!("{sign} {}", words::answer(of)), &answer(of, has_trials)),
        section("tables", "The policies side by side", &side_by_side(of)),
        section("plots", "Pictures", &pictures(figures.iter())),
        section("tables", "How it was calculated", &how(of)),
        section("", "Do it again", &again(of)),
    ];
    document(&question, &format!("advice on rollout policies · {}", of.scenario), &question, &sections.concat())
}

fn paragraph(sentences: &str) -> String {
    format!("<p>{}</p>\n", text(sentences))
}

/// What each policy does, in sentences.
fn answer(of: &Advice, has_trials: bool) -> String {
    let item = |(number, policy): (usize, &AdvisedPolicy)| {
        let rehearsed = rehearsed(of, number).map(|of| format!(" {}", words::rehearsed(of))).unwrap_or_default();
        let summary = words::summary(policy);
        format!("<li><strong>{}</strong>: {}</li>\n", text(&policy.name), text(&(summary + &rehearsed)))
    };
    let items: String = of.policies.iter().enumerate().map(item).collect();
    let mut body = format!("<ul>\n{items}</ul>\n") + &paragraph(&words::smallest(of));
    if !words::has_few_false_alarms(of) {
        let wanted = words::percent(of.question.false_alarms_bp);
        body += &paragraph(&format!(
            "No policy has false alarms below {wanted}: there are too few devices, or too little time."
        ));
    }
    match &of.rehearsed {
        Some(rehearsed) => body += &paragraph(&format!("Rehearsed: {}.", rehearsed.state)),
        None => body += &paragraph("These numbers are calculated, and not rehearsed."),
    }
    if has_trials {
        body += &format!("<p><a href=\"{SCORE_PAGE}\">The page of the trials</a></p>\n");
    }
    body
}

/// The rehearsals of a policy, by its number.
fn rehearsed(of: &Advice, number: usize) -> Option<&RehearsedPolicy> {
    of.rehearsed.as_ref()?.policies.get(number)
}

/// What a row shows of each policy.
enum Value {
    Calculated(fn(&AdvisedPolicy) -> String),
    Rehearsed(fn(&RehearsedPolicy) -> String),
}
use Value::{Calculated, Rehearsed};

/// The rows of the table.
const ROWS: [(&str, Value); 17] = [
    ("Canary", Calculated(|of| words::devices(of.canary_devices))),
    ("Stages", Calculated(words::stages)),
    ("Stops at", Calculated(words::stops_at)),
    ("Chance to find the bug", Calculated(|of| format!("{} or more", words::at_least(of.found)))),
    ("— rehearsed", Rehearsed(|of| words::share(&of.found_in_canary))),
    ("— rehearsed, or in a later stage", Rehearsed(|of| words::share(&of.found))),
    ("Found after", Calculated(|of| format!("{} at most", words::time(of.found_after_s)))),
    ("— rehearsed", Rehearsed(|of| words::median(of.found_after_s))),
    (
        "Devices broken by then",
        Calculated(|of| format!("{:.1}, 95\u{a0}%: at most {}", of.hit, grouped(of.hit_at_most.into()))),
    ),
    ("— rehearsed", Rehearsed(|of| format!("{}, 95\u{a0}%: at most {}", grouped(of.broken.0), grouped(of.broken.1)))),
    ("Broken by a release that breaks all", Calculated(|of| grouped(of.first_step.into()))),
    ("Broken if the bug is missed", Calculated(|of| format!("about {:.0}", of.hit_if_missed))),
    ("False alarms", Calculated(|of| words::chance(of.false_alarms, 1))),
    ("— rehearsed", Rehearsed(|of| words::share(&of.false_alarms))),
    ("Tolerated share of good devices that fail", Calculated(|of| words::chance(of.tolerates, 2))),
    ("Everybody has a good release after", Calculated(|of| format!("{} or more", words::time(of.duration_s)))),
    ("— rehearsed", Rehearsed(|of| words::median(of.duration_s))),
];

fn side_by_side(of: &Advice) -> String {
    let columns: Vec<String> = of.policies.iter().map(|of| format!("#{}", of.name)).collect();
    let columns: Vec<&str> = std::iter::once("").chain(columns.iter().map(String::as_str)).collect();
    let rehearsed = || of.rehearsed.iter().flat_map(|of| &of.policies);
    let row = |(name, value): (&str, Value)| {
        let cells: String = match value {
            Calculated(value) => of.policies.iter().map(|of| labelled_cell(&of.name, &value(of))).collect(),
            Rehearsed(value) => rehearsed().map(|of| labelled_cell(&of.name, &value(of))).collect(),
        };
        (!cells.is_empty()).then(|| name_cell(name) + &cells)
    };
    let rows: Vec<String> = ROWS.into_iter().filter_map(row).collect();
    let limits = " Rehearsed shares are shown with their 95 % limits; rehearsed times and devices are medians.";
    let limits = if of.rehearsed.is_some() { limits } else { "" };
    table("cards advice", "The policies side by side", &columns, &rows)
        + &format!("<p class=\"muted\">Times count from the start of the rollout.{limits}</p>\n")
}

fn how(of: &Advice) -> String {
    let bug = f64::from(of.question.detect_bp) / 10_000.0;
    let executed = f64::from(of.executed_bp) / 100.0;
    let lines = [
        format!(
            "A bug that breaks each device with a chance of {bug} shows in a canary of n devices with 1 − (1 − {bug})^n. Only {executed} % of a \
             canary are counted, because some devices are always offline. A gate that waits for more failures needs more devices, and \
             stops fewer good releases."
        ),
        format!("The bake times follow from the scenario: {}.", of.fails),
        format!("Pace and limits are those of the scenario's policy, but for a slow start's: {}.", of.limits),
        format!(
            "At most {} of good releases may be stopped by mistake. {}",
            words::percent(of.question.false_alarms_bp),
            words::background(of)
        ),
        format!(
            "The bug is on {}: {} of the {} that the rollout reaches.",
            of.question.group,
            words::devices(of.devices),
            grouped(of.targets.into())
        ),
    ];
    // Advice that was written before it had them says nothing of limits.
    let lines = lines.iter().filter(|line| !of.limits.is_empty() || !line.starts_with("Pace"));
    let items = lines.fold(String::new(), |items, line| items + &format!("<li>{}</li>\n", text(line)));
    format!("<ul>\n{items}</ul>\n{}", canaries(of))
}

/// The smallest canary for each number of failures.
fn canaries(of: &Advice) -> String {
    let row = |canary: &Canary| {
        let [failures, needed, share] = words::other_canary(canary);
        name_cell(&failures)
            + &labelled_cell("devices with an outcome", &needed)
            + &labelled_cell("share of all", &share)
    };
    let rows: Vec<String> = of.canaries.iter().map(row).collect();
    let columns = ["Stops at failures", "#Devices with an outcome", "#Share of all devices"];
    let caption = "The smallest canary for each number of failures";
    format!("<details>\n<summary>{caption}</summary>\n{}</details>\n", table("cards", caption, &columns, &rows))
}

/// The commands that repeat it, and those that go on from it.
fn again(of: &Advice) -> String {
    let command = |what: &str, line: &str| format!("<p>{}</p>\n<pre><code>{}</code></pre>\n", text(what), text(line));
    let mut body = command("The advice:", &of.commands.advise);
    for (policy, line) in of.policies.iter().zip(&of.commands.rehearse) {
        body += &command(&format!("One rehearsal of {}:", policy.name), line);
    }
    body + &command("The score of all of them, with the bug and without it:", &of.commands.score)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::super::sample;
    use super::*;

    /// The page with plain spaces.
    fn page_of(of: &Advice) -> String {
        page(of, &[], true).replace('\u{a0}', " ")
    }

    #[test]
    fn the_answer_comes_first_and_every_row_has_the_numbers_of_its_policies() {
        let page = page_of(&sample::advice());
        let question = "Which policy finds a bug that breaks 1.5 % of model KS-200, with 95 %, within 48 h?";
        let headings =
            ["✓ Three policies find it", "The policies side by side", "Pictures", "How it was", "Do it again"];
        let headings = headings.map(|heading| format!("<h2>{heading}"));
        let order = std::iter::once(format!("<h1>{question}</h1>")).chain(headings);
        let places: Vec<usize> = order.map(|part| page.find(&part).unwrap_or_else(|| panic!("{part}"))).collect();
        assert!(places.is_sorted(), "{places:?}");
        for (row, values) in [
            ("Canary", ["733 devices", "2 932 devices", "3 665 devices"]),
            (
                "Stages",
                [
                    "6.12 % for 8 h 30 min, then 100 % for 9 h 31 min",
                    "24.48 % for 8 h 30 min, then 100 % for 9 h 31 min",
                    "3.19 % for 8 h 30 min, then 30.6 % for 9 h 31 min, then 100 % for 10 h 32 min",
                ],
            ),
            (
                "Stops at",
                ["1 failure of 223 devices", "4 failures of 892 devices", "1 failure of 118 devices, then 5 of 1 115"],
            ),
            ("Chance to find the bug", ["95.2 % or more", "95.5 % or more", "95.6 % or more"]),
            ("Found after", ["8 h 17 min at most", "33 h 5 min at most", "41 h 21 min at most"]),
            ("Devices broken by then", ["3.3, 95 %: at most 7", "13.4, 95 %: at most 28", "16.7, 95 %: at most 35"]),
            ("Broken by a release that breaks all", ["114", "117", "118"]),
            ("Broken if the bug is missed", ["about 55", "about 58", "about 59"]),
            ("False alarms", ["91.2 %", "5.7 %", "3.6 %"]),
            (
                "Everybody has a good release after",
                ["22 h 47 min or more", "22 h 53 min or more", "22 h 55 min or more"],
            ),
        ] {
            let names = ["smallest-canary", "few-false-alarms", "in-steps"].into_iter().zip(values);
            let cells: String = names.map(|(name, value)| labelled_cell(name, value)).collect();
            assert!(page.contains(&(name_cell(row) + &cells)), "{row}: {page}");
        }
        // Clopper and Pearson's limits, from another program.
        assert!(page.contains("20 of 23 (66 to 98 %)") && page.contains("19 of 23 (61 to 96 %)"), "{page}");
        assert!(
            page.contains("No policy can do it with fewer than 199 devices of model KS-200 in its canary, of 3 601")
        );
    }

    /// Goal: the page shows nothing but what `advice.json` says. Method: each number of it is changed alone; only those may change nothing
    /// that the pictures show, or nobody.
    #[test]
    fn every_number_of_the_advice_is_on_the_page() {
        let advice = sample::advice();
        let (before, json) = (page_of(&advice), serde_json::to_value(&advice).unwrap());
        let mut numbers = Vec::new();
        collect(&json, String::new(), &mut numbers);
        let unseen = |at: &str| {
            let at_end = ["/found_if_all_run", "/canary/needed"].iter().any(|end| at.ends_with(end));
            // Of a policy in one step the first step is the canary.
            let is_said_otherwise = at.ends_with("/first_step_stops_at") && !at.starts_with("/policies/2");
            at.starts_with("/chances") || at_end || is_said_otherwise
        };
        for at in numbers.iter().filter(|at| !unseen(at)) {
            let mut other = json.clone();
            let number = other.pointer_mut(at).unwrap();
            *number = match number.as_u64() {
                Some(whole) => (whole + 61).into(),
                None => (number.as_f64().unwrap() + 0.61).into(),
            };
            let other: Advice = serde_json::from_value(other).unwrap();
            assert_ne!(page_of(&other), before, "{at} is not on the page");
        }
        assert!(numbers.len() > 100, "{}", numbers.len());
    }

    fn collect(value: &Json, at: String, numbers: &mut Vec<String>) {
        match value {
            Json::Number(_) => numbers.push(at),
            Json::Array(all) => {
                for (nth, of) in all.iter().enumerate() {
                    collect(of, format!("{at}/{nth}"), numbers);
                }
            }
            Json::Object(all) => {
                for (name, of) in all {
                    collect(of, format!("{at}/{name}"), numbers);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn what_was_not_rehearsed_has_no_such_rows_and_too_many_false_alarms_are_said() {
        let mut advice = Advice { rehearsed: None, ..sample::advice() };
        advice.question.false_alarms_bp = 10;
        let page = page(&advice, &[], false);
        assert!(!page.contains("— rehearsed") && !page.contains("score.html") && page.contains("not rehearsed"));
        assert!(page.contains("verdict inconclusive") && page.contains("No policy has false alarms below"));
        assert!(page_of(&sample::advice()).contains("<a href=\"score.html\">"));
    }

    #[test]
    fn names_are_never_markup() {
        let hostile = "<script>alert(1)</script>\"'&".to_owned();
        let mut advice = sample::advice();
        (advice.scenario, advice.fails) = (hostile.clone(), hostile.clone());
        advice.question.group = crate::advice::Group::Site(hostile.clone());
        advice.policies[0].name.clone_from(&hostile);
        advice.commands.advise.clone_from(&hostile);
        advice.commands.rehearse[0].clone_from(&hostile);
        advice.commands.score.clone_from(&hostile);
        if let Some(rehearsed) = &mut advice.rehearsed {
            rehearsed.state.clone_from(&hostile);
        }
        let figures: Vec<Figure> = crate::plot::OF_ADVICE
            .into_iter()
            .map(|(name, chart)| crate::plot::figure(name, chart(&advice), false).unwrap())
            .collect();
        let page = page(&advice, &figures, true);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    }
}
