//! Checks `[[fleet.churn]]`: what each kind needs, and that it can happen to a device.

use std::time::Duration;

use super::CheckContext;
use super::faults::{check_hours, only, place_of};
use super::value::{at_most, duration_in, integer_in, one_of, required};
use crate::scenario::churn::{Churn, ChurnKind, ChurnTime};
use crate::scenario::limits;
use crate::scenario::problem::{Problem, Problems};
use crate::scenario::raw::{CHURN, RawChurn};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;

/// Checks all of them.
pub(super) fn check(raw: Vec<RawChurn>, known: &mut CheckContext<'_>, problems: &mut Problems) -> Option<Vec<Churn>> {
    let first_beyond = raw.get(limits::CHURN_MAX).map(|churn| churn.at);
    at_most(raw.len(), limits::CHURN_MAX, CHURN.title, first_beyond, problems);
    let count = raw.len();
    let raw = raw.into_iter().take(limits::CHURN_MAX);
    let checked: Vec<Churn> = raw.filter_map(|raw| check_one(raw, known, problems)).collect();
    (checked.len() == count).then_some(checked)
}

fn check_one(raw: RawChurn, known: &mut CheckContext<'_>, problems: &mut Problems) -> Option<Churn> {
    let owner = (CHURN.title, raw.at);
    let kind = required(raw.kind, "kind", owner, "kind = \"unplugged\"", problems);
    let kind_at = kind.as_ref().map_or(raw.at, |kind| kind.at);
    let kind = one_of("kind", kind.as_ref(), &ChurnKind::ALL.map(|kind| (kind.as_str(), kind)), problems);
    let site_at = place_of(&raw.only_site).or(place_of(&raw.only_model)).unwrap_or(raw.at);
    let only_model = only(raw.only_model, "model", known.models.as_deref(), problems);
    let only_site = only(raw.only_site, "site", known.sites.as_deref(), problems);
    let kind = kind?;
    let has = |kinds: &[ChurnKind]| kinds.contains(&kind);
    let lasts_a_while = has(&[ChurnKind::Unplugged, ChurnKind::Moved, ChurnKind::FlakyLink, ChurnKind::Swapped]);
    let keys = [
        ("per_day_bp", place_of(&raw.per_day_bp), !has(&[ChurnKind::SiteCloses])),
        ("lasts", place_of(&raw.lasts), lasts_a_while),
        ("loss_bp", place_of(&raw.loss_bp), has(&[ChurnKind::FlakyLink])),
        ("hours", place_of(&raw.hours), has(&[ChurnKind::SiteCloses])),
    ];
    for (key, at) in keys.into_iter().filter_map(|(key, at, is_its)| Some((key, at.filter(|_| !is_its)?))) {
        let message = format!("`{key}` has no effect on `{}`", kind.as_str());
        problems.push(Problem::new(at, message).expected(format!("no `{key}` with it")));
    }
    let number = |field, key: &str, example: &str, problems: &mut Problems| {
        let given = required(field, key, owner, example, problems);
        integer_in::<u16>(key, given, &limits::CHURN_BP, problems).map(|share| share.value)
    };
    let when = if kind == ChurnKind::SiteCloses {
        daily(raw.hours, owner, known, problems)
    } else {
        let share_bp = number(raw.per_day_bp, "per_day_bp", "per_day_bp = 20", problems);
        let lasts = if lasts_a_while {
            let lasts = required(raw.lasts, "lasts", owner, "lasts = \"2h\"", problems);
            duration_in("lasts", lasts, &limits::CHURN_LASTS, problems).map(|lasts| lasts.value)
        } else {
            Some(Duration::ZERO)
        };
        share_bp.zip(lasts).map(|(share_bp, lasts)| ChurnTime::PerDay { share_bp, lasts })
    };
    let loss_bp =
        if has(&[ChurnKind::FlakyLink]) { number(raw.loss_bp, "loss_bp", "loss_bp = 3000", problems) } else { Some(0) };
    if kind == ChurnKind::Moved && known.sites.as_ref().is_some_and(|sites| sites.len() < 2) {
        let problem = Problem::new(kind_at, "a device can't be `moved`: the fleet has one site");
        problems.push(problem.expected("two or more [[fleet.site]], or the kind `unplugged`"));
    }
    let (only_model, only_site) = (only_model.ok()?, only_site.ok()?);
    if only_model.is_some() && only_site.is_some() {
        // A small model or site may have no device with this seed, and then nothing happens to it.
        known.places.push(At { at: site_at, value: (only_model.clone(), only_site.clone()) });
    }
    Some(Churn { kind, when: when?, loss_bp: loss_bp?, only_model, only_site })
}

/// The hours in which a site is closed.
fn daily(
    hours: Field<String>,
    owner: (&str, Place),
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<ChurnTime> {
    let hours = required(hours, "hours", owner, "hours = \"22-06\"", problems)?;
    check_hours(Field::Given(hours), known.mode, problems).ok().flatten().map(ChurnTime::Daily)
}
