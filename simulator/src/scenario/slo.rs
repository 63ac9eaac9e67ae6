//! Expectations that can be asked of any load: upper bounds of what devices experience, from a scenario or from a command line.

use super::check::expect::check_text;
use super::expectation::{During, Expectation};
use super::metric::Metric;
use super::plan::Timing;
use super::{Plan, ServerSettings};

/// Reads an expectation from a command line: `heartbeat.p99_ms<=50`.
///
/// # Errors
/// A sentence that says what is wrong and what was expected.
pub fn slo(text: &str, timing: Timing, settings: &dyn ServerSettings) -> Result<Expectation, String> {
    let checked = check_text(text, timing, settings).map_err(|problem| {
        let problem = *problem;
        let expected = if problem.expected.is_empty() { None } else { Some(format!("expected {}", problem.expected)) };
        let near = problem.suggestion.map(|near| format!("did you mean {}?", near.trim_matches('"')));
        let more = expected.or(near).or(problem.help).map_or_else(String::new, |more| format!("; {more}"));
        format!("{}{more}", problem.message)
    })?;
    if asks_of_any_load(&checked) {
        return Ok(checked);
    }
    let what = if checked.bound.is_upper() { "says nothing about the load" } else { "has no upper bound" };
    Err(format!("`{checked}` {what}; expected METRIC<=NUMBER or METRIC=0, with a metric such as {}", examples()))
}

/// The plan's expectations that can be asked of any load, one for each metric: the strictest; and those that can't, in words.
pub fn upper_bounds(plan: &Plan) -> (Vec<Expectation>, Vec<String>) {
    let (mut kept, mut left_out): (Vec<Expectation>, Vec<String>) = (Vec::new(), Vec::new());
    for expectation in &plan.expectations {
        if !asks_of_any_load(expectation) {
            left_out.push(expectation.to_string());
            continue;
        }
        let of_any_span = Expectation {
            during: During::WholeRun,
            every: None,
            allow_empty: false,
            abort: false,
            ..expectation.clone()
        };
        match kept.iter_mut().find(|of| of.metric == expectation.metric) {
            Some(of) if of.bound.value() > expectation.bound.value() => *of = of_any_span,
            Some(_) => {}
            None => kept.push(of_any_span),
        }
    }
    (kept, left_out)
}

impl Metric {
    /// The share of answers that a bound of it is about: 0.99 of a 99th percentile; none unless it is a percentile.
    pub fn quantile(&self) -> Option<f64> {
        match self {
            Self::HeartbeatP50Ms => Some(0.5),
            Self::HeartbeatP90Ms => Some(0.9),
            Self::HeartbeatP99Ms | Self::RegisterP99Ms => Some(0.99),
            Self::HeartbeatP999Ms => Some(0.999),
            _ => None,
        }
    }
}

/// Whether a fleet of any size can meet it: a lower bound is about the size of the scenario's own fleet.
fn asks_of_any_load(expectation: &Expectation) -> bool {
    let is_experienced = matches!(
        expectation.metric,
        Metric::Errors
            | Metric::Codes(_)
            | Metric::HeartbeatP50Ms
            | Metric::HeartbeatP90Ms
            | Metric::HeartbeatP99Ms
            | Metric::HeartbeatP999Ms
            | Metric::HeartbeatMaxMs
            | Metric::BadServerSignatures
            | Metric::TlsFailed
            | Metric::TlsHandshakeP99Ms
            | Metric::LedgerLost
            | Metric::LedgerDuplicated
            | Metric::LedgerReordered
            | Metric::LedgerMisattributed
            | Metric::Limit(_)
    );
    is_experienced && expectation.bound.is_upper()
}

fn examples() -> &'static str {
    "heartbeat.p50_ms, heartbeat.p90_ms, heartbeat.p99_ms, heartbeat.p999_ms, heartbeat.max_ms, errors or codes.OVERLOADED"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario_settings::ScenarioSettings;

    fn read(text: &str) -> Result<String, String> {
        slo(text, Timing::Measured, &ScenarioSettings).map(|read| read.to_string())
    }

    #[test]
    fn an_slo_is_a_metric_and_an_upper_bound() {
        assert_eq!(read("heartbeat.p99_ms<=50").as_deref(), Ok("heartbeat.p99_ms <= 50"));
        assert_eq!(read(" heartbeat.p999_ms <= 12.5 ").as_deref(), Ok("heartbeat.p999_ms <= 12.5"));
        assert_eq!(read("errors=0").as_deref(), Ok("errors = 0"));
        assert_eq!(read("codes.OVERLOADED==0").as_deref(), Ok("codes.OVERLOADED = 0"));
    }

    #[test]
    fn a_wrong_slo_is_refused_with_what_was_expected() {
        for (wrong, said) in [
            ("", "expected METRIC<=NUMBER"),
            ("heartbeat.p99_ms", "has no bound; expected METRIC<=NUMBER, such as heartbeat.p99_ms<=50"),
            ("heartbeat.p99_ms<50", "has no bound; expected METRIC<=NUMBER"),
            ("heartbeat.p99_ms<=fast", "`fast` is not a number"),
            ("heartbeat.p99_ms<=nan", "`nan` is not a number"),
            ("heartbeat.p99_ms<=-1", "expected a number from 0 to 2^53"),
            ("heartbeat.p99<=50", "did you mean heartbeat.p99_ms?"),
            ("speed<=3", "the metrics are errors"),
            ("codes.OVERLOADD=0", "did you mean codes.OVERLOADED?"),
            ("heartbeat.per_min>=55000", "has no upper bound"),
            ("errors=5", "has no upper bound"),
            ("rollout.paused<=3", "says nothing about the load"),
        ] {
            let why = read(wrong).unwrap_err();
            assert!(why.contains(said), "{wrong}: {why}");
        }
        let ignored = slo("heartbeat.p99_ms<=50", Timing::Ignored, &ScenarioSettings).unwrap_err();
        assert!(ignored.contains("depends on how fast the machine is"), "{ignored}");
    }

    #[test]
    fn lower_bounds_are_left_out_and_the_strictest_bound_of_a_metric_is_kept() {
        let text = "name = \"t\"\ngoal = \"Bounds.\"\nduration = \"9s\"\n[fleet]\ndevices = 1\nheartbeat_interval = \"1s\"\n\
            [[expect]]\nmetric = \"heartbeat.p99_ms\"\nmax = 90\nduring = \"steady\"\nevery = \"2s\"\n\
            [[expect]]\nmetric = \"heartbeat.per_min\"\nmin = 50\n\
            [[expect]]\nmetric = \"heartbeat.p99_ms\"\nmax = 40\n[[expect]]\nmetric = \"errors\"\nequals = 0\n";
        let plan = crate::scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let (kept, left_out) = upper_bounds(&plan);
        let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
        assert_eq!(kept, ["heartbeat.p99_ms <= 40", "errors = 0"]);
        assert_eq!(left_out, ["heartbeat.per_min >= 50"]);
    }
}
