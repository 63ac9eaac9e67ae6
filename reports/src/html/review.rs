//! The page's answers to a release manager's questions about each rollout, in their order.

use super::{section, text};
use crate::answers;
use crate::moments::Moments;
use crate::number::{group_in_sentence, grouped};
use crate::plot::Figure;
use crate::review::RolloutReview;
use crate::run::Run;
use crate::run_folder::EventsKept;

mod beliefs;
mod places;
mod stories;
mod thresholds;

/// Limit of rollouts on the page.
pub(super) const ROLLOUTS_MAX: usize = 10;

/// The sections of all rollouts, in the order of their start; empty if nothing was reviewed. `gates` are the pictures of gates.
pub(super) fn sections(run: &Run, gates: &[&Figure]) -> String {
    let moments = Moments::since(&run.summary.started_at);
    let rollouts: Vec<&RolloutReview> = run.review.iter().flat_map(|review| &review.rollouts).collect();
    let has_events = run.summary.events_kept != EventsKept::None;
    let context = Context { moments, is_one: rollouts.len() == 1, has_events };
    let mut page = String::new();
    let own_gates = if context.is_one { gates } else { &[] };
    for rollout in rollouts.iter().take(ROLLOUTS_MAX) {
        page += &of_rollout(rollout, &context, own_gates);
    }
    if !context.is_one && !gates.is_empty() {
        page += &section("plots", "Gates of all rollouts over time", &super::pictures(gates.iter().copied()));
    }
    let more = rollouts.len().saturating_sub(ROLLOUTS_MAX);
    if more > 0 {
        let note = format!("<p>{} more are in review.json.</p>\n", grouped(more as u64));
        page += &section("", "More rollouts", &note);
    }
    page
}

/// What the sections of all rollouts have in common.
struct Context {
    moments: Moments,
    is_one: bool,
    has_events: bool,
}

fn of_rollout(of: &RolloutReview, context: &Context, gates: &[&Figure]) -> String {
    let moments = context.moments;
    let whose = |question: &str| {
        if context.is_one { question.to_owned() } else { format!("{}: {question}", of.rollout_id) }
    };
    let answer = |sentences: &str| format!("<p>{}</p>\n", text(sentences));
    let mut page = section("", &whose("What was rolled out"), &(answer(&answers::what(of, moments)) + &policy(of)));
    page += &section("", &whose("Was the bug found?"), &answer(&answers::found(of, moments)));
    page += &section("", &whose("Without the gate"), &answer(&answers::without_gate(of, moments)));
    page += &section("tables", &whose("By model and site"), &places::tables(of));
    if of.stories_total > 0 {
        page += &section("tables", &whose("Devices with a failure"), &stories::list(of, moments, context.has_events));
    }
    if !gates.is_empty() {
        let pictures = super::pictures(gates.iter().copied());
        page += &section("plots", &whose("Gates over time"), &pictures);
    }
    let beliefs = answer(&answers::beliefs(of)) + &beliefs::table_of(of);
    page += &section("", &whose("What the server believed, and what was true"), &beliefs);
    page + &section("tables", &whose("Other thresholds"), &thresholds::tables(of, moments))
}

/// The policy in sentences, with the devices that each stage adds.
fn policy(of: &RolloutReview) -> String {
    let adds: Vec<String> = of.stage_devices.iter().map(|devices| grouped(*devices)).collect();
    let items: String =
        of.policy.iter().map(|sentence| format!("<li>{}</li>\n", text(&group_in_sentence(sentence)))).collect();
    format!(
        "<h3>Policy</h3>\n<ul>\n{items}</ul>\n<p class=\"muted\">Devices that each stage adds: {}.</p>\n",
        adds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::{Review, Truth};
    use crate::run_folder::Summary;
    use crate::sample;

    /// The sections of a run with these rollouts.
    fn page_of(rollouts: Vec<RolloutReview>) -> String {
        let summary = Summary { rollout: Some(sample::rollout()), ..sample::summary() };
        let review = Some(Review { silent_after_s: 60.0, rollouts });
        sections(&Run { review, ..Run::new(summary, &[], None) }, &[]).replace('\u{a0}', " ")
    }

    #[test]
    fn the_questions_are_answered_in_their_order() {
        let page = page_of(vec![sample::review()]);
        let questions = [
            "What was rolled out",
            "Was the bug found?",
            "Without the gate",
            "By model and site",
            "Devices with a failure",
            "What the server believed, and what was true",
            "Other thresholds",
        ];
        let places: Vec<usize> =
            questions.iter().map(|question| page.find(&format!("<h2>{question}")).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert!(page.contains("✗ 2"), "two confirmed devices are dead");
        assert!(page.contains("not before it was aborted, 2 h 20 min after the start"));
    }

    /// The table of 3 models at 100 sites is cut, and its sum is still that of all.
    #[test]
    fn a_long_table_is_folded_and_cut_and_its_sum_is_the_total() {
        let places = (0..300_u64).map(|place| {
            let (model, site) = (format!("KS-{}", place % 3), format!("store-{:03}", place / 3));
            sample::cell(&model, &site, "CONFIRMED", Truth::Good, place + 1)
        });
        let page = page_of(vec![RolloutReview { cells: places.collect(), ..sample::review() }]);
        assert!(
            page.contains("<summary>By site (100)</summary>")
                && page.contains("<summary>By model and site (300)</summary>")
        );
        assert!(page.contains("<th scope=\"row\">100 others</th>"));
        let sum = "<th scope=\"row\" class=\"sum\">all</th><td class=\"n\" data-label=\"targets\">45 150</td>";
        assert_eq!(page.matches(sum).count(), 3, "1 + 2 + ... + 300");
    }

    /// One place needs one table, and so does one model at many sites.
    #[test]
    fn no_table_is_shown_twice() {
        let table_of = |places: &[(&str, &str)]| {
            let cells = places.iter().map(|(model, site)| sample::cell(model, site, "CONFIRMED", Truth::Good, 1));
            let page = page_of(vec![RolloutReview { cells: cells.collect(), ..sample::review() }]);
            page.matches("<table class=\"cards places\">").count()
        };
        assert_eq!(table_of(&[("M", "s")]), 1);
        assert_eq!(table_of(&[("M", "s"), ("M", "t")]), 2, "by model, by site");
        assert_eq!(table_of(&[("M", "s"), ("N", "t")]), 3);
    }

    #[test]
    fn rollouts_are_in_the_order_of_their_start_whichever_broke_most() {
        let named = |name: &str| RolloutReview { rollout_id: name.into(), ..sample::review() };
        let page = page_of(vec![named("rol-0"), named("rol-0-back"), named("rol-1")]);
        let places = ["rol-0: What", "rol-0-back: What", "rol-1: What"].map(|heading| page.find(heading).unwrap());
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn text_of_a_review_is_never_markup_and_rollouts_are_bounded() {
        let hostile = "<script>alert(1)</script>\"'&".to_owned();
        let mut of = sample::review();
        (of.rollout_id, of.release, of.state) = (hostile.clone(), hostile.clone(), hostile.clone());
        of.policy = vec![hostile.clone()];
        of.cells[0].model.clone_from(&hostile);
        of.cells[0].site.clone_from(&hostile);
        of.cells[0].believed.clone_from(&hostile);
        of.stories[0].device_id.clone_from(&hostile);
        of.stories[0].events[0].what.clone_from(&hostile);
        of.thresholds[0].judges.clone_from(&hostile);
        of.thresholds[0].test.clone_from(&hostile);
        of.thresholds[0].evidence_ends_with = Some(hostile.clone());
        if let Some(found) = &mut of.found {
            (found.decision, found.why, found.gate) = (hostile.clone(), hostile.clone(), None);
        }
        of.others = of.found.iter().cloned().collect();
        let page = page_of(vec![of; 14]);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
        assert!(page.contains("4 more are in review.json"));
    }
}
