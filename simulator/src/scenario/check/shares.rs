//! Checks the models and the sites of `[fleet]`: tables, or a numbered series of them.

use super::value::{LABEL, Pattern, at_most, integer_in, one_of, or_default, required, text_like};
use crate::scenario::limits;
use crate::scenario::plan::Share;
use crate::scenario::problem::{Problem, Problems, quoted};
use crate::scenario::raw::{RawSeries, RawShare, RawShares};
use crate::scenario::reader::{At, Field, Section};

/// Models or sites in either form; `default` if there are none.
pub(super) fn check(
    raw: RawShares,
    (table, series): (Section, Section),
    default: &str,
    problems: &mut Problems,
) -> Option<Vec<Share>> {
    if let (Some(RawShare { at, .. }), Field::Given(given)) =
        (raw.tables.as_deref().unwrap_or_default().first(), &raw.series)
    {
        let (first, second) = if *at < given.at { (*at, given.at) } else { (given.at, *at) };
        let message = format!("the fleet has both {} and {}", series.title, table.title);
        problems.push(Problem::new(second, message).expected("one of the two").first_at(first));
        return None;
    }
    match raw.series {
        Field::Given(given) => check_series(given, series, problems),
        Field::Absent => check_tables(raw.tables?, table, default, problems),
        Field::Wrong => None,
    }
}

/// How the sizes of a series relate.
#[derive(Debug, Clone, Copy)]
enum Sizes {
    Equal,
    Zipf,
}

fn check_series(raw: At<RawSeries>, section: Section, problems: &mut Problems) -> Option<Vec<Share>> {
    let At { at, value: raw } = raw;
    let owner = (section.title, at);
    let count = required(raw.count, "count", owner, "count = 40", problems);
    let count = integer_in::<u32>("count", count, &limits::SERIES_COUNT, problems);
    let prefix = required(raw.prefix, "prefix", owner, "prefix = \"store\"", problems);
    let prefix = text_like("prefix", prefix, PREFIX, problems);
    let choices = [("equal", Sizes::Equal), ("zipf", Sizes::Zipf)];
    let sizes = one_of("sizes", or_default(raw.sizes, "equal", at).as_ref(), &choices, problems)?;
    let (count, prefix) = (count?.value, prefix?.value);
    let shares = match sizes {
        Sizes::Equal => vec![1; usize::try_from(count).ok()?],
        Sizes::Zipf => zipf(count),
    };
    let width = count.to_string().len();
    Some((1..=count).zip(shares).map(|(k, share)| Share { name: format!("{prefix}-{k:0width$}"), share }).collect())
}

/// What a series' names start with: room is left for `-` and the number.
const PREFIX: Pattern = Pattern {
    chars_max: limits::SERIES_PREFIX_CHARS_MAX,
    described: "1 to 59 of A-Z, a-z, 0-9, `.`, `_` and `-`",
    ..LABEL
};

/// What the shares of a Zipf series add up to.
const ZIPF_TOTAL: u128 = 1_000_000;

/// Shares in proportion to 1/k that add up to [`ZIPF_TOTAL`]: the exact ones rounded down, then one more for each of those with
/// the largest fractions, the earlier first. In integers, so that every machine computes the same ones.
fn zipf(count: u32) -> Vec<u32> {
    const ONE: u128 = 1_000_000_000_000_000_000;
    let weights: Vec<u128> = (1..=u128::from(count)).map(|k| ONE / k).collect();
    let sum: u128 = weights.iter().sum::<u128>().max(1);
    let mut shares: Vec<u128> = weights.iter().map(|weight| ZIPF_TOTAL * weight / sum).collect();
    let left = ZIPF_TOTAL.saturating_sub(shares.iter().sum());
    let mut by_fraction: Vec<_> = shares.iter_mut().zip(weights).collect();
    by_fraction.sort_by_key(|(_, weight)| std::cmp::Reverse(ZIPF_TOTAL * weight % sum)); // stable
    for ((share, _), _) in by_fraction.into_iter().zip(0..left) {
        *share += 1;
    }
    shares.into_iter().map(|share| u32::try_from(share).unwrap_or(u32::MAX)).collect()
}

/// Tables of models or sites: each has a unique name and a weight. Without any, the whole fleet is `default`.
fn check_tables(raw: Vec<RawShare>, section: Section, default: &str, problems: &mut Problems) -> Option<Vec<Share>> {
    let title = section.title;
    if raw.is_empty() {
        return Some(vec![Share { name: default.to_owned(), share: 1 }]);
    }
    let first_beyond = raw.get(limits::SHARES_MAX).map(|share| share.at);
    at_most(raw.len(), limits::SHARES_MAX, title, first_beyond, problems);
    let count = raw.len();
    let mut shares = Vec::new();
    let mut names: Vec<At<String>> = Vec::new();
    for RawShare { at, name, share } in raw.into_iter().take(limits::SHARES_MAX) {
        let name = required(name, "name", (title, at), &format!("name = \"{default}\""), problems);
        let name = text_like("name", name, LABEL, problems);
        let share = required(share, "share", (title, at), "share = 1", problems);
        let share = integer_in::<u32>("share", share, &limits::SHARE, problems);
        let Some(name) = name else { continue };
        if let Some(first) = names.iter().find(|first| first.value == name.value) {
            let message = format!("a second {title} is called {}", quoted(&name.value));
            problems.push(Problem::new(name.at, message).expected("a unique name").first_at(first.at));
        } else if let Some(share) = share {
            shares.push(Share { name: name.value.clone(), share: share.value });
        }
        names.push(name);
    }
    (shares.len() == count).then_some(shares)
}
