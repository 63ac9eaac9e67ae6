//! /api/rollouts: planned, made, watched, ordered about.

use ks_protocol::{
    id::{DeviceId, ReleaseId, RolloutId},
    message::UpdateClass,
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    devices::check_reason,
    page::{self, Page},
    route::{Call, Json, JsonBody, Nothing, Query},
    which::Which,
};
use crate::{
    app::App,
    clock::ms,
    rollout::{
        self,
        plan::{Plan, Wish},
        policy::Policy,
        step::{Observed, Order, PersonalOrder, Unfit},
        update::UpdateState,
    },
    rules,
    service::{
        names,
        rollouts::{
            self, Decision, Rollout,
            create::{self, CreateError},
            driver,
        },
    },
    store::{
        devices::Selector,
        rollouts::{UpdateFilter, UpdateRecord},
    },
};

/// A rollout that somebody wishes for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Its name, never used for another. Who comes when follows from it.
    rollout_id: RolloutId,
    /// What to roll out; it must be ACTIVE.
    release_id: ReleaseId,
    /// To whom; devices that run it, are of another model or in another rollout are left out.
    which: Which,
    /// How.
    policy: Policy,
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

impl Wanted {
    fn take(self) -> Result<(Wish, ReleaseId, Selector, String), Problem> {
        check_reason(&self.reason)?;
        let Self { rollout_id, release_id, which, policy, reason } = self;
        names::check(rollout_id.as_str(), &names::NOT_FOR_ROLLOUTS)
            .map_err(|why| Problem::bad_request(format!("rollout_id: {why}")))?;
        Ok((Wish { rollout_id, policy }, release_id, which.selector()?, reason))
    }
}

/// Says what would happen; nothing does.
pub async fn plan(call: Call, JsonBody(wanted): JsonBody<Wanted>) -> Result<Json<Plan>, Problem> {
    let (wish, release_id, which, _) = wanted.take()?;
    let (app, interval_ms) = (&call.app, ms(call.app.config.heartbeat_interval));
    let planned = create::plan(&wish, &release_id, which, &call.reader, &app.rollouts.planning, interval_ms).await;
    planned.map(Json).map_err(problem)
}

/// A rollout that was made, and what it will do: who is in which stage, and the power of its gates.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Created {
    rollout: Rollout,
    plan: Plan,
}

/// Makes it; the first devices are offered the release at once.
pub async fn create(call: Call, JsonBody(wanted): JsonBody<Wanted>) -> Result<Json<Created>, Problem> {
    let (wish, release_id, which, reason) = wanted.take()?;
    let (app, by) = (&call.app, call.by());
    let rollout_id = wish.rollout_id.clone();
    let interval_ms = ms(app.config.heartbeat_interval);
    let (writer, reader, planning) = (&app.writer, &call.reader, &app.rollouts.planning);
    let created = create::create(wish, &release_id, which, &reason, writer, reader, &by, planning, interval_ms).await;
    let plan = created.map_err(problem)?;
    app.rollouts.wake();
    let Json(rollout) = shown(app, &rollout_id).await?;
    Ok(Json(Created { rollout, plan }))
}

fn problem(error: CreateError) -> Problem {
    match error {
        CreateError::Store(error) => error.into(),
        CreateError::UnknownRelease(_) => Problem::not_found(error.to_string()),
        CreateError::Nonsense(_) | CreateError::RollBackTo(_) => Problem::bad_request(error.to_string()),
        CreateError::Refused(_) | CreateError::Unbelievable(_) => Problem::conflict(error.to_string()),
        CreateError::Keys(error) => {
            tracing::error!(%error, "the keys can't be read");
            Problem::internal()
        }
    }
}

/// Which rollouts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Rows at most.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists rollouts in the order they were made.
pub async fn list(call: Call, Query(list): Query<List>) -> Result<Json<Page<Rollout>>, Problem> {
    let (limit, after) = (page::limit(list.limit)?, page::after(list.cursor.as_deref(), 0)?);
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    let asked = call.reader.ask(move |store| {
        let mut found = Vec::new();
        for record in store.rollouts(after, limit)? {
            found.push((record.row, rollouts::show(store, record, now, interval)?));
        }
        Ok(found)
    });
    Ok(Json(Page::of(asked.await?, limit, |(row, _)| *row, |(_, rollout)| rollout)))
}

/// Says how one rollout is.
pub async fn get(call: Call, _: Nothing) -> Result<Json<Rollout>, Problem> {
    shown(&call.app, &call.path("rollout_id")?).await
}

async fn shown(app: &App, rollout_id: &RolloutId) -> Result<Json<Rollout>, Problem> {
    let found = rollouts::find(&app.admin_reader, rollout_id, app.clock.now(), app.config.heartbeat_interval).await?;
    found.map(Json).ok_or_else(|| unknown(rollout_id))
}

fn unknown(rollout_id: &RolloutId) -> Problem {
    Problem::not_found(format!("there is no rollout {rollout_id}"))
}

/// An order that lets the release go further: why, and the rollout as the person saw it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoOn {
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// The stage that it is about, from 0. 409 if the rollout is in another one by now.
    stage: usize,
    /// The revision that it is about. 409 if anything was decided since, but for a retry of this very order.
    revision: u64,
}

/// An order to stop for now.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// The stage that it is about, from 0; only together with `revision`. Without, whatever the rollout is in.
    stage: Option<usize>,
    /// The revision that it is about. Without, an order to stop does not fail because something was decided meanwhile.
    revision: Option<u64>,
}

/// An order to abort.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// The stage that it is about, from 0; only together with `revision`. Without, whatever the rollout is in.
    stage: Option<usize>,
    /// The revision that it is about. Without, an order to stop does not fail because something was decided meanwhile.
    revision: Option<u64>,
    /// Also give those that took the release the policy's `roll_back_to`.
    #[serde(default)]
    roll_back: bool,
}

/// Offers nothing more for now; what is under way goes on, and gates are judged.
pub async fn pause(call: Call, JsonBody(pause): JsonBody<Pause>) -> Result<Json<Rollout>, Problem> {
    let Pause { reason, stage, revision } = pause;
    carry_out(call, PersonalOrder { order: Order::Pause, seen: seen(stage, revision)?, why: reason }).await
}

/// Goes on with a paused rollout.
pub async fn resume(call: Call, JsonBody(go_on): JsonBody<GoOn>) -> Result<Json<Rollout>, Problem> {
    let GoOn { reason, stage, revision } = go_on;
    carry_out(call, PersonalOrder { order: Order::Resume, seen: Some(Observed { stage, revision }), why: reason }).await
}

/// Lets the stage be promoted that waits for a person.
pub async fn approve(call: Call, JsonBody(go_on): JsonBody<GoOn>) -> Result<Json<Rollout>, Problem> {
    let GoOn { reason, stage, revision } = go_on;
    carry_out(call, PersonalOrder { order: Order::Approve, seen: Some(Observed { stage, revision }), why: reason })
        .await
}

/// Ends it: the release is not offered again, and devices that are downloading are told to stop.
pub async fn abort(call: Call, JsonBody(abort): JsonBody<Abort>) -> Result<Json<Rollout>, Problem> {
    let Abort { reason, stage, revision, roll_back } = abort;
    carry_out(call, PersonalOrder { order: Order::Abort { roll_back }, seen: seen(stage, revision)?, why: reason })
        .await
}

fn seen(stage: Option<usize>, revision: Option<u64>) -> Result<Option<Observed>, Problem> {
    match (stage, revision) {
        (Some(stage), Some(revision)) => Ok(Some(Observed { stage, revision })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Problem::bad_request("revision: missing; expected it together with `stage`".to_owned())),
        (None, Some(_)) => Err(Problem::bad_request("stage: missing; expected it together with `revision`".to_owned())),
    }
}

async fn carry_out(call: Call, given: PersonalOrder) -> Result<Json<Rollout>, Problem> {
    check_reason(&given.why)?;
    let rollout_id: RolloutId = call.path("rollout_id")?;
    let (app, by, wanted) = (&call.app, call.by(), rollout_id.clone());
    let with = driver::evaluation_now(app);
    let done = app.writer.write(move |store| rules::rollouts::order(store, &wanted, &given, &by, with)).await?;
    match done {
        None => return Err(unknown(&rollout_id)),
        Some(Err(unfit)) => return Err(Problem::conflict(in_fields(&unfit))),
        Some(Ok(_)) => app.rollouts.wake(),
    }
    shown(app, &rollout_id).await
}

/// Why an order does not fit. One about another stage is told by the fields of its body: they count stages from 0, as the list of
/// them in a policy does, and sentences for people from 1.
fn in_fields(unfit: &Unfit) -> String {
    match unfit {
        Unfit::Changed { order, seen, now } => format!(
            "the order to {order} is about `stage` {} and `revision` {}, and the rollout is at `stage` {} and `revision` {}: look at it again",
            seen.stage, seen.revision, now.stage, now.revision
        ),
        other => other.to_string(),
    }
}

/// The decision trace, the oldest first.
pub async fn trace(call: Call, Query(list): Query<List>) -> Result<Json<Page<Decision>>, Problem> {
    let (limit, after) = (page::limit(list.limit)?, page::after(list.cursor.as_deref(), 0)?);
    let rollout_id: RolloutId = call.path("rollout_id")?;
    let found = rollouts::decisions(&call.reader, &rollout_id, after, limit).await?;
    let found = found.ok_or_else(|| unknown(&rollout_id))?;
    Ok(Json(Page::of(found, limit, |decision| decision.row, Decision::from)))
}

/// Which updates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// That are so far.
    state: Option<UpdateState>,
    /// At this site.
    site: Option<String>,
    /// Of this model.
    model: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Rows at most.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// A device's update.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeviceUpdate {
    device_id: DeviceId,
    model: String,
    site: String,
    /// The stage that adds it, from 0.
    stage: usize,
    state: UpdateState,
    offered_at: Option<UnixMs>,
    /// When it last got further.
    progress_at: Option<UnixMs>,
    confirming_since: Option<UnixMs>,
    ended_at: Option<UnixMs>,
    /// What the device says went wrong.
    class: Option<UpdateClass>,
    /// What it said last.
    detail: String,
    last_seen_at: Option<UnixMs>,
}

impl From<UpdateRecord> for DeviceUpdate {
    fn from(record: UpdateRecord) -> Self {
        let UpdateRecord { device_id, model, site, stage, update, detail, last_seen_at, .. } = record;
        let rollout::update::Update { state, offered_at, progress_at, confirming_since, ended_at, class, .. } = update;
        Self {
            device_id,
            model,
            site,
            stage,
            state,
            offered_at,
            progress_at: (progress_at > UnixMs(0)).then_some(progress_at),
            confirming_since,
            ended_at,
            class,
            detail,
            last_seen_at,
        }
    }
}

/// The devices of a rollout, and how far each is.
pub async fn updates(call: Call, Query(which): Query<Updates>) -> Result<Json<Page<DeviceUpdate>>, Problem> {
    let (limit, after) = (page::limit(which.limit)?, page::after(which.cursor.as_deref(), 0)?);
    let Updates { state, site, model, .. } = which;
    let filter = UpdateFilter { state, site, model };
    let rollout_id: RolloutId = call.path("rollout_id")?;
    let wanted = rollout_id.clone();
    let asked = call.reader.ask(move |store| match store.rollout(&wanted)? {
        Some(rollout) => store.updates(rollout.row, &filter, after, limit).map(Some),
        None => Ok(None),
    });
    let found = asked.await?.ok_or_else(|| unknown(&rollout_id))?;
    Ok(Json(Page::of(found, limit, |update| update.device_row, DeviceUpdate::from)))
}
