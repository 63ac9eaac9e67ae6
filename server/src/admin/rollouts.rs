//! /api/rollouts: plan, create, monitor and control rollouts.

use ks_protocol::id::{ReleaseId, RolloutId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    device_selector::DeviceSelector,
    devices::check_reason,
    page::{self, Page},
    route::{Call, Json, JsonBody, NoInput, Query, Toml},
};
use crate::{
    app::App,
    clock::ms,
    rollout::{
        order::{InvalidTransition, Observed, OperatorOrder, Order},
        plan::{Plan, RolloutRequest},
        policy::Policy,
        update::UpdateState,
    },
    rules,
    service::{
        names,
        rollouts::{
            self, Decision, Rollout,
            create::{self, CreateError},
            driver,
            status::{self, DeviceUpdate, RolloutStatus},
        },
    },
    store::{devices::Selector, updates::UpdateFilter},
};

/// The rollout to plan or create.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// Unique name, never reused. It determines the order of the devices.
    rollout_id: RolloutId,
    /// Release to roll out; it must be ACTIVE.
    release_id: ReleaseId,
    /// Targeted devices. Devices that already run the release, are of another model or are in another rollout are excluded.
    which: DeviceSelector,
    policy: Policy,
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

impl RolloutSpec {
    fn validate(self) -> Result<(RolloutRequest, ReleaseId, Selector, String), Problem> {
        check_reason(&self.reason)?;
        let Self { rollout_id, release_id, which, policy, reason } = self;
        names::check(rollout_id.as_str(), &names::RESERVED_ROLLOUT_IDS)
            .map_err(|why| Problem::bad_request(format!("rollout_id: {why}")))?;
        Ok((RolloutRequest { rollout_id, policy }, release_id, which.selector()?, reason))
    }
}

/// Plans a rollout without creating it.
pub async fn plan(call: Call, JsonBody(spec): JsonBody<RolloutSpec>) -> Result<Json<Plan>, Problem> {
    let (request, release_id, selector, _) = spec.validate()?;
    let (app, interval_ms) = (&call.app, ms(call.app.config.heartbeat_interval));
    let planned =
        create::plan(&request, &release_id, selector, &call.reader, &app.rollouts.planning, interval_ms).await;
    planned.map(Json).map_err(problem)
}

/// Writes a plan as a scenario for `ks-fleet rehearse`: this rollout on as many devices of each model at each site.
pub async fn plan_rehearsal(call: Call, JsonBody(spec): JsonBody<RolloutSpec>) -> Result<Toml, Problem> {
    let (request, release_id, selector, _) = spec.validate()?;
    let (app, interval) = (&call.app, call.app.config.heartbeat_interval);
    let planning = &app.rollouts.planning;
    let plan = create::plan(&request, &release_id, selector, &call.reader, planning, ms(interval)).await;
    let plan = plan.map_err(problem)?;
    let _guard = planning.lock().await; // it reads up to two weeks of heartbeats: one at a time
    let now = app.clock.now();
    let written = create::rehearsal(&request, &release_id, &plan, &call.reader, interval, now, &mut |_, _| ()).await;
    written.map(Toml).map_err(problem)
}

/// A new rollout and its plan: the devices of each stage, and the statistical power of the gates.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CreatedRollout {
    rollout: Rollout,
    plan: Plan,
}

/// Creates a rollout. The first devices are offered the release immediately.
pub async fn create(call: Call, JsonBody(spec): JsonBody<RolloutSpec>) -> Result<Json<CreatedRollout>, Problem> {
    let (request, release_id, selector, reason) = spec.validate()?;
    let (app, by) = (&call.app, call.by());
    let rollout_id = request.rollout_id.clone();
    let interval_ms = ms(app.config.heartbeat_interval);
    let (writer, reader, planning) = (&app.writer, &call.reader, &app.rollouts.planning);
    let created =
        create::create(request, &release_id, selector, &reason, writer, reader, &by, planning, interval_ms).await;
    let plan = created.map_err(problem)?;
    app.rollouts.wake();
    let Json(rollout) = load(app, &rollout_id).await?;
    Ok(Json(CreatedRollout { rollout, plan }))
}

fn problem(error: CreateError) -> Problem {
    match error {
        CreateError::Store(error) => error.into(),
        CreateError::UnknownRelease(_) => Problem::not_found(error.to_string()),
        CreateError::InvalidRequest(_) | CreateError::InvalidRollBack(_) => Problem::bad_request(error.to_string()),
        CreateError::Refused(_) | CreateError::UntrustedRelease(_) => Problem::conflict(error.to_string()),
        CreateError::Keys(error) => {
            tracing::error!(%error, "the keys can't be read");
            Problem::internal()
        }
    }
}

/// Page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutsQuery {
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists rollouts in the order of creation.
pub async fn list(call: Call, Query(query): Query<RolloutsQuery>) -> Result<Json<Page<Rollout>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
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

/// Gets a rollout's current state.
pub async fn get(call: Call, _: NoInput) -> Result<Json<Rollout>, Problem> {
    load(&call.app, &call.path("rollout_id")?).await
}

/// Gets how far a rollout is: gates against their bounds, what it waits for, when it goes on, and which devices to look at.
pub async fn status(call: Call, _: NoInput) -> Result<Json<RolloutStatus>, Problem> {
    let (rollout_id, app): (RolloutId, _) = (call.path("rollout_id")?, &call.app);
    let found = status::find(&call.reader, &rollout_id, app.clock.now(), app.config.heartbeat_interval).await?;
    found.map(Json).ok_or_else(|| unknown(&rollout_id))
}

async fn load(app: &App, rollout_id: &RolloutId) -> Result<Json<Rollout>, Problem> {
    let found = rollouts::find(&app.admin_reader, rollout_id, app.clock.now(), app.config.heartbeat_interval).await?;
    found.map(Json).ok_or_else(|| unknown(rollout_id))
}

fn unknown(rollout_id: &RolloutId) -> Problem {
    Problem::not_found(format!("unknown rollout {rollout_id}"))
}

/// An order that lets the rollout proceed. It names the state that the operator saw.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProceedOrder {
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// Stage that the order refers to, from 0. 409 if the rollout is in another stage by now.
    stage: usize,
    /// Revision that the order refers to. 409 if there was a decision since, except for a retry of the same order.
    revision: u64,
}

/// An order to pause.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// Stage that the order refers to, from 0; only together with `revision`. Default: the current stage.
    stage: Option<usize>,
    /// Revision that the order refers to. If omitted, a decision made meanwhile does not make the order fail.
    revision: Option<u64>,
}

/// An order to abort.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortOrder {
    /// Why, for the trace and the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// Stage that the order refers to, from 0; only together with `revision`. Default: the current stage.
    stage: Option<usize>,
    /// Revision that the order refers to. If omitted, a decision made meanwhile does not make the order fail.
    revision: Option<u64>,
    /// Also roll devices that installed the release back to the policy's `roll_back_to`.
    #[serde(default)]
    roll_back: bool,
}

/// Pauses a rollout: no new offers. Updates in progress continue, and gates are still evaluated.
pub async fn pause(call: Call, JsonBody(pause): JsonBody<PauseOrder>) -> Result<Json<Rollout>, Problem> {
    let PauseOrder { reason, stage, revision } = pause;
    execute(call, OperatorOrder { order: Order::Pause, seen: seen(stage, revision)?, why: reason }).await
}

/// Resumes a paused rollout.
pub async fn resume(call: Call, JsonBody(order): JsonBody<ProceedOrder>) -> Result<Json<Rollout>, Problem> {
    let ProceedOrder { reason, stage, revision } = order;
    execute(call, OperatorOrder { order: Order::Resume, seen: Some(Observed { stage, revision }), why: reason }).await
}

/// Approves a stage that waits for approval.
pub async fn approve(call: Call, JsonBody(order): JsonBody<ProceedOrder>) -> Result<Json<Rollout>, Problem> {
    let ProceedOrder { reason, stage, revision } = order;
    execute(call, OperatorOrder { order: Order::Approve, seen: Some(Observed { stage, revision }), why: reason }).await
}

/// Aborts a rollout: the release is not offered again, and devices that are downloading it stop.
pub async fn abort(call: Call, JsonBody(abort): JsonBody<AbortOrder>) -> Result<Json<Rollout>, Problem> {
    let AbortOrder { reason, stage, revision, roll_back } = abort;
    execute(call, OperatorOrder { order: Order::Abort { roll_back }, seen: seen(stage, revision)?, why: reason }).await
}

fn seen(stage: Option<usize>, revision: Option<u64>) -> Result<Option<Observed>, Problem> {
    match (stage, revision) {
        (Some(stage), Some(revision)) => Ok(Some(Observed { stage, revision })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Problem::bad_request("revision: missing; expected it together with `stage`".to_owned())),
        (None, Some(_)) => Err(Problem::bad_request("stage: missing; expected it together with `revision`".to_owned())),
    }
}

async fn execute(call: Call, order: OperatorOrder) -> Result<Json<Rollout>, Problem> {
    check_reason(&order.why)?;
    let rollout_id: RolloutId = call.path("rollout_id")?;
    let (app, by, wanted) = (&call.app, call.by(), rollout_id.clone());
    let evaluation = driver::evaluation_now(app);
    let done = app.writer.write(move |store| rules::rollouts::order(store, &wanted, &order, &by, evaluation)).await?;
    match done {
        None => return Err(unknown(&rollout_id)),
        Some(Err(invalid)) => return Err(Problem::conflict(conflict_detail(&invalid))),
        Some(Ok(_)) => app.rollouts.wake(),
    }
    load(app, &rollout_id).await
}

/// Why an order conflicts with the rollout's state. An outdated order is described in terms of its fields, which count stages from 0
/// like the policy's list; other error texts count from 1.
fn conflict_detail(invalid: &InvalidTransition) -> String {
    match invalid {
        InvalidTransition::Changed { order, seen, now } => format!(
            "the order to {order} refers to `stage` {} and `revision` {}, but the rollout is at `stage` {} and `revision` {}; read it again",
            seen.stage, seen.revision, now.stage, now.revision
        ),
        other => other.to_string(),
    }
}

/// Lists decisions, oldest first.
pub async fn trace(call: Call, Query(query): Query<RolloutsQuery>) -> Result<Json<Page<Decision>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let rollout_id: RolloutId = call.path("rollout_id")?;
    let found = rollouts::decisions(&call.reader, &rollout_id, after, limit).await?;
    let found = found.ok_or_else(|| unknown(&rollout_id))?;
    Ok(Json(Page::of(found, limit, |decision| decision.row, Decision::from)))
}

/// Filter and page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatesQuery {
    /// Update state.
    state: Option<UpdateState>,
    /// At this site.
    site: Option<String>,
    /// Of this model.
    model: Option<String>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists the devices of a rollout with their progress.
pub async fn updates(call: Call, Query(query): Query<UpdatesQuery>) -> Result<Json<Page<DeviceUpdate>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let UpdatesQuery { state, site, model, .. } = query;
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
