//! Gates: what the failures among executed devices prove (PASS, FAIL or nothing yet), with the numbers behind the verdict.
//!
//! Without devices there is no evidence, and without evidence there is no PASS. All arithmetic is in integers, so that a decision
//! is the same, bit for bit, on every machine. Units: `_bp` are basis points (1 of 10,000), `_ppm` millionths.

use ks_protocol::text::counted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scaled::{Binomial, Scaled, WHOLE_PPM};

/// A whole population, in basis points.
pub const WHOLE_BP: u16 = 10_000;
/// Parts per million in a basis point.
pub(super) const PPM_PER_BP: u32 = 100;
/// The most devices that a gate judges: the time grows with their number, and must not hold up the engine.
pub(super) const EXECUTED_MAX: u32 = 10_000_000;
/// With a larger alpha, a one-sided upper limit would be below the share itself.
const ALPHA_MAX_BP: u16 = 5_000;

/// How a share of failures is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Test {
    /// Compares the observed share with the threshold, without a test of significance.
    Raw,
    /// Compares the exact one-sided limits of the share with the threshold. Clopper and Pearson, Biometrika 26 (1934) 404-413.
    ClopperPearson {
        /// Confidence of each limit, in basis points: 5,000 to 9,999.
        confidence_bp: u16,
    },
    /// The sequential probability ratio test; it does not use the threshold. Wald, Ann. Math. Statist. 16 (1945) 117-186.
    Sprt {
        /// Acceptable share of failures, in basis points: 1 or more.
        p0_bp: u16,
        /// Unacceptable share of failures, in basis points: above `p0_bp`, at most 9,999.
        p1_bp: u16,
        /// Chance to stop acceptable firmware, in basis points: 1 to 4,999.
        alpha_bp: u16,
        /// Chance to pass unacceptable firmware, in basis points: 1 to 4,999.
        beta_bp: u16,
    },
}

/// A gate's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// There is enough evidence, and it is good.
    Pass,
    /// There is enough evidence, and it is bad.
    Fail,
    /// There is not enough evidence.
    Inconclusive,
}

impl Verdict {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }
}

/// A gate's verdict, and the numbers that it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    pub verdict: Verdict,
    /// Devices that failed.
    pub failed: u32,
    /// Devices that have an outcome.
    pub executed: u32,
    /// The observed share of failures in ppm, rounded down; 0 without a device.
    pub share_ppm: u32,
    /// One-sided lower limit in ppm, rounded down, for `clopper_pearson`; else the share.
    pub lower_ppm: u32,
    /// One-sided upper limit in ppm, rounded up, for `clopper_pearson`; else the share.
    pub upper_ppm: u32,
}

/// Why counts can't be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCounts {
    /// The counts contradict each other.
    #[error("{} failed of {executed} that were executed: expected at most as many as were executed", counted(*failed, "device"))]
    MoreFailedThanExecuted {
        failed: u32,
        /// Devices that have an outcome.
        executed: u32,
    },
    /// More devices than can be judged quickly.
    #[error("{}: expected at most {EXECUTED_MAX}", counted(*executed, "executed device"))]
    TooMany {
        /// Devices that have an outcome.
        executed: u32,
    },
}

/// Checks a test's parameters; the error says in one sentence what is wrong and what was expected.
pub fn check(test: Test, threshold_bp: u16) -> Result<(), String> {
    let within = |name: &str, value: u16, least: u16, most: u16| match value {
        _ if (least..=most).contains(&value) => Ok(()),
        _ => Err(format!("{name} is {value}: expected {least} to {most} basis points")),
    };
    match test {
        Test::Raw => within("the threshold", threshold_bp, 0, 9_999),
        Test::ClopperPearson { confidence_bp } => {
            // No number of devices can show that nothing ever fails.
            within("the threshold of clopper_pearson", threshold_bp, 1, 9_999)?;
            within("confidence_bp", confidence_bp, WHOLE_BP - ALPHA_MAX_BP, 9_999)
        }
        Test::Sprt { p0_bp, p1_bp, alpha_bp, beta_bp } => {
            within("p0_bp", p0_bp, 1, 9_998)?;
            within("p1_bp", p1_bp, p0_bp + 1, 9_999)?;
            within("alpha_bp", alpha_bp, 1, 4_999)?;
            within("beta_bp", beta_bp, 1, 4_999)
        }
    }
}

/// Judges `failed` of `executed` devices. PASS requires `min_executed` devices, and at least one. FAIL does not wait for
/// them: evidence of harm is enough. A raw gate fails early only when the devices still missing could not bring the share below
/// the threshold. Impossible counts are an error.
pub fn judge(
    test: Test,
    threshold_bp: u16,
    min_executed: u32,
    failed: u32,
    executed: u32,
) -> Result<GateResult, InvalidCounts> {
    check_counts(failed, executed)?;
    let share_ppm = share_ppm(failed, executed);
    let (lower_ppm, upper_ppm) = match test {
        Test::ClopperPearson { confidence_bp } => {
            let alpha_bp = WHOLE_BP.saturating_sub(confidence_bp);
            (failure_share_min_ppm(failed, executed, alpha_bp)?, failure_share_max_ppm(failed, executed, alpha_bp)?)
        }
        Test::Raw | Test::Sprt { .. } => (share_ppm, share_ppm),
    };
    let verdict = verdict(test, threshold_bp, min_executed, failed, executed);
    Ok(GateResult { verdict, failed, executed, share_ppm, lower_ppm, upper_ppm })
}

/// The verdict of [`judge`], without the limits; the counts must be possible.
pub(super) fn verdict(test: Test, threshold_bp: u16, min_executed: u32, failed: u32, executed: u32) -> Verdict {
    if executed == 0 {
        return Verdict::Inconclusive;
    }
    // Whether the share is above the threshold once this many devices are executed and none of the missing ones fails.
    let part = u64::from(failed) * u64::from(WHOLE_BP);
    let is_above = |executed: u32| part > u64::from(threshold_bp) * u64::from(executed);
    let (is_good, is_bad) = match test {
        Test::Raw => (!is_above(executed), is_above(executed.max(min_executed))),
        Test::ClopperPearson { confidence_bp } => {
            let alpha = alpha(WHOLE_BP.saturating_sub(confidence_bp));
            let threshold_ppm = u32::from(threshold_bp.min(WHOLE_BP)) * PPM_PER_BP;
            let binomial = Binomial::new(failed, executed);
            if is_above(executed) {
                (false, binomial.at_least(threshold_ppm).is_below(alpha))
            } else {
                (binomial.at_most(threshold_ppm).is_at_most(alpha), false)
            }
        }
        Test::Sprt { p0_bp, p1_bp, alpha_bp, beta_bp } => {
            // Likelihoods without the factor of 10,000^-executed on both sides; multiplied out, so that nothing is divided by zero.
            let likelihood = |p_bp: u16| {
                let well_bp = WHOLE_BP.saturating_sub(p_bp);
                let bad = Scaled::from(u64::from(p_bp)).powi(failed.into());
                bad.mul(Scaled::from(u64::from(well_bp)).powi(executed.saturating_sub(failed).into()))
            };
            let (acceptable, harmful) = (likelihood(p0_bp), likelihood(p1_bp));
            let times = |likelihood: Scaled, bp: u16| likelihood.mul(u64::from(bp).into());
            (
                times(harmful, WHOLE_BP.saturating_sub(alpha_bp)).is_at_most(times(acceptable, beta_bp)),
                times(acceptable, WHOLE_BP.saturating_sub(beta_bp)).is_at_most(times(harmful, alpha_bp)),
            )
        }
    };
    match (is_bad, is_good && executed >= min_executed) {
        (true, _) => Verdict::Fail,
        (false, true) => Verdict::Pass,
        (false, false) => Verdict::Inconclusive,
    }
}

/// The one-sided upper Clopper-Pearson limit of the share of failures, in ppm, rounded up: at this share, so few failures would
/// have a chance of at most `alpha_bp`. An alpha above one half counts as one half.
pub fn failure_share_max_ppm(failed: u32, executed: u32, alpha_bp: u16) -> Result<u32, InvalidCounts> {
    check_counts(failed, executed)?;
    let (binomial, alpha) = (Binomial::new(failed, executed), alpha(alpha_bp));
    let (mut no, mut yes) = (share_ppm(failed, executed), WHOLE_PPM);
    while yes - no > 1 && failed < executed {
        let middle = no.midpoint(yes);
        *(if binomial.at_most(middle).is_at_most(alpha) { &mut yes } else { &mut no }) = middle;
    }
    Ok(yes)
}

/// The one-sided lower Clopper-Pearson limit of the share of failures, in ppm, rounded down: at this share, so many failures would
/// have a chance of at most `alpha_bp`. An alpha above one half counts as one half.
pub fn failure_share_min_ppm(failed: u32, executed: u32, alpha_bp: u16) -> Result<u32, InvalidCounts> {
    // By symmetry: so many failures at a share are as likely as so few successes at the complement of that share.
    check_counts(failed, executed)?;
    Ok(WHOLE_PPM - failure_share_max_ppm(executed - failed, executed, alpha_bp)?)
}

fn check_counts(failed: u32, executed: u32) -> Result<(), InvalidCounts> {
    match failed <= executed {
        false => Err(InvalidCounts::MoreFailedThanExecuted { failed, executed }),
        true if executed > EXECUTED_MAX => Err(InvalidCounts::TooMany { executed }),
        true => Ok(()),
    }
}

/// The observed share in ppm, rounded down; 0 without a device.
fn share_ppm(failed: u32, executed: u32) -> u32 {
    let share = (u64::from(failed) * u64::from(WHOLE_PPM)).checked_div(executed.into());
    share.and_then(|share| u32::try_from(share).ok()).unwrap_or(0)
}

fn alpha(alpha_bp: u16) -> Scaled {
    Scaled::ratio(alpha_bp.min(ALPHA_MAX_BP).into(), WHOLE_BP.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROOF: Test = Test::ClopperPearson { confidence_bp: 9_500 };
    const WALD: Test = Test::Sprt { p0_bp: 50, p1_bp: 200, alpha_bp: 500, beta_bp: 500 };

    fn verdict_of(test: Test, threshold_bp: u16, min_executed: u32, failed: u32, executed: u32) -> Verdict {
        judge(test, threshold_bp, min_executed, failed, executed).unwrap().verdict
    }

    fn any_test() -> impl Strategy<Value = Test> {
        prop_oneof![
            Just(Test::Raw),
            (5_000_u16..10_000).prop_map(|confidence_bp| Test::ClopperPearson { confidence_bp }),
            (1_u16..5_000, 1_u16..4_999, 1_u16..5_000, 1_u16..5_000).prop_map(|(p0_bp, more, alpha_bp, beta_bp)| {
                Test::Sprt { p0_bp, p1_bp: p0_bp + more, alpha_bp, beta_bp }
            }),
        ]
    }

    #[test]
    fn limits_match_exact_fractions() {
        // Computed with Python's Fraction: failed, executed, alpha, lower, upper.
        for (failed, executed, alpha_bp, lower, upper) in [
            (0, 598, 500, 0, 4_998),
            (0, 597, 500, 0, 5_006),
            (1, 100, 500, 512, 46_560),
            (5, 50, 500, 40_236, 198_834),
            (0, 1, 500, 0, 950_000),
            (1, 1, 500, 50_000, 1_000_000),
            (2, 2, 100, 100_000, 1_000_000),
            (3, 7, 2_500, 253_073, 621_152),
            (40, 90, 5_000, 439_115, 450_186),
            (7, 1_000, 100, 2_334, 15_929),
            (250, 300, 10, 757_954, 893_488),
            (99, 100, 500, 953_440, 999_488),
            (0, 0, 500, 0, 1_000_000),
        ] {
            let limits =
                (failure_share_min_ppm(failed, executed, alpha_bp), failure_share_max_ppm(failed, executed, alpha_bp));
            assert_eq!(limits, (Ok(lower), Ok(upper)), "{failed} of {executed} at {alpha_bp}");
        }
    }

    #[test]
    fn proving_half_a_percent_requires_598_clean_devices() {
        assert_eq!(verdict_of(PROOF, 50, 1, 0, 598), Verdict::Pass);
        assert_eq!(verdict_of(PROOF, 50, 1, 0, 597), Verdict::Inconclusive);
        assert_eq!(verdict_of(PROOF, 50, 599, 0, 598), Verdict::Inconclusive);
    }

    #[test]
    fn harm_is_proven_before_the_minimum_but_not_at_exactly_alpha() {
        assert_eq!(verdict_of(PROOF, 50, 1_000, 3, 10), Verdict::Fail);
        assert_eq!(verdict_of(PROOF, 500, 1, 1, 1), Verdict::Inconclusive, "a chance of exactly 5 %");
        let of_99 = Test::ClopperPearson { confidence_bp: 9_900 };
        assert_eq!(verdict_of(of_99, 1_000, 1, 2, 2), Verdict::Inconclusive, "a chance of exactly 1 %");
        assert_eq!(verdict_of(of_99, 999, 1, 2, 2), Verdict::Fail);
    }

    #[test]
    fn a_raw_gate_fails_early_only_if_no_missing_device_could_change_it() {
        for (failed, executed, verdict) in [
            (0, 199, Verdict::Inconclusive),
            (1, 1, Verdict::Inconclusive),
            (1, 200, Verdict::Pass),
            (2, 2, Verdict::Fail),
            (2, 399, Verdict::Fail),
            (2, 400, Verdict::Pass),
        ] {
            assert_eq!(verdict_of(Test::Raw, 50, 200, failed, executed), verdict, "{failed} of {executed}");
        }
    }

    #[test]
    fn the_sequential_test_decides_at_walds_bounds() {
        assert_eq!(
            (verdict_of(WALD, 0, 1, 0, 193), verdict_of(WALD, 0, 1, 0, 194)),
            (Verdict::Inconclusive, Verdict::Pass)
        );
        assert_eq!(verdict_of(WALD, 0, 195, 0, 194), Verdict::Inconclusive);
        assert_eq!(
            (verdict_of(WALD, 0, 1, 2, 2), verdict_of(WALD, 0, 1, 3, 3)),
            (Verdict::Inconclusive, Verdict::Fail)
        );
        let tie = Test::Sprt { p0_bp: 2_000, p1_bp: 8_000, alpha_bp: 2_000, beta_bp: 2_000 }; // 4 against 4
        assert_eq!(
            (verdict_of(tie, 0, 1, 501, 1_001), verdict_of(tie, 0, 1, 500, 1_000)),
            (Verdict::Fail, Verdict::Inconclusive)
        );
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert_eq!(judge(PROOF, 50, 1, 2, 1), Err(InvalidCounts::MoreFailedThanExecuted { failed: 2, executed: 1 }));
        assert_eq!(judge(Test::Raw, 50, 1, 0, u32::MAX), Err(InvalidCounts::TooMany { executed: u32::MAX }));
    }

    #[test]
    fn invalid_parameters_are_named_with_what_was_expected() {
        let sprt = |p0_bp, p1_bp, alpha_bp, beta_bp| Test::Sprt { p0_bp, p1_bp, alpha_bp, beta_bp };
        for (test, threshold_bp, why) in [
            (Test::Raw, 10_000, "the threshold is 10000: expected 0 to 9999 basis points"),
            (PROOF, 0, "the threshold of clopper_pearson is 0: expected 1 to 9999 basis points"),
            (Test::ClopperPearson { confidence_bp: 95 }, 50, "confidence_bp is 95: expected 5000 to 9999 basis points"),
            (sprt(0, 50, 500, 500), 50, "p0_bp is 0: expected 1 to 9998 basis points"),
            (sprt(100, 50, 500, 500), 50, "p1_bp is 50: expected 101 to 9999 basis points"),
            (sprt(50, 100, 5_000, 500), 50, "alpha_bp is 5000: expected 1 to 4999 basis points"),
            (sprt(50, 100, 500, 0), 50, "beta_bp is 0: expected 1 to 4999 basis points"),
        ] {
            assert_eq!(check(test, threshold_bp), Err(why.to_owned()));
        }
        assert_eq!(
            [(Test::Raw, 0), (PROOF, 50), (WALD, 0)].map(|(test, bp)| check(test, bp)),
            [Ok(()), Ok(()), Ok(())]
        );
    }

    proptest! {
        #[test]
        fn without_devices_the_verdict_is_inconclusive(test in any_test(), threshold_bp in 0_u16..10_000, min_executed in 0_u32..2) {
            prop_assert_eq!(verdict_of(test, threshold_bp, min_executed, 0, 0), Verdict::Inconclusive);
        }

        #[test]
        fn the_share_is_within_its_limits(
            confidence_bp in 5_000_u16..10_000, executed in 1_u32..3_000, of in 0_u32..=1_000,
        ) {
            let judged = judge(Test::ClopperPearson { confidence_bp }, 50, 1, executed * of / 1_000, executed).unwrap();
            prop_assert!(judged.lower_ppm <= judged.share_ppm && judged.share_ppm <= judged.upper_ppm, "{judged:?}");
        }

        /// Goal: PASS and FAIL agree with the limits that are reported.
        #[test]
        fn the_verdict_agrees_with_the_limits(threshold_bp in 1_u16..2_000, executed in 1_u32..3_000, of in 0_u32..200) {
            let judged = judge(PROOF, threshold_bp, 1, executed * of / 1_000, executed).unwrap();
            let threshold_ppm = u32::from(threshold_bp) * PPM_PER_BP;
            prop_assert_eq!(judged.verdict == Verdict::Pass, judged.upper_ppm <= threshold_ppm, "{:?}", judged);
            prop_assert!(judged.verdict != Verdict::Fail || judged.lower_ppm >= threshold_ppm, "{judged:?}");
            prop_assert!(judged.verdict == Verdict::Fail || judged.lower_ppm <= threshold_ppm, "{judged:?}");
        }

        #[test]
        fn more_failures_never_improve_a_verdict(
            test in any_test(), threshold_bp in 1_u16..3_000, min_executed in 0_u32..400, executed in 1_u32..300,
        ) {
            let rank = |failed| match verdict_of(test, threshold_bp, min_executed, failed, executed) {
                Verdict::Pass => 0,
                Verdict::Inconclusive => 1,
                Verdict::Fail => 2,
            };
            prop_assert!((0..=executed).map(rank).is_sorted());
        }
    }
}
