//! /api/artifacts and /api/releases: firmware images and the release lifecycle.

use ks_protocol::{id::ReleaseId, text::Sha256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    devices::check_reason,
    page::{self, Page},
    route::{Call, Json, JsonBody, NoInput, Query, Upload},
};
use crate::{
    artifacts::{ArtifactError, upload_name},
    keys::KeyringError,
    rules,
    service::{
        releases::{self, Release, ReleaseError, ReleaseFields},
        rollouts::driver,
        scrub,
    },
    store::releases::{ReleaseRecord, ReleaseRefused},
};

/// A stored artifact.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Artifact {
    sha256: Sha256,
    size_bytes: u64,
}

/// Stores a firmware image; its hash is computed during the upload.
pub async fn upload(call: Call, Upload(body): Upload) -> Result<Json<Artifact>, Problem> {
    let app = &call.app;
    let uploaded = app.artifacts.upload(body, &upload_name(app.rng.bytes_32())).await;
    let (sha256, size_bytes) = uploaded.map_err(|error| match error {
        ArtifactError::TooLarge(_) => Problem::new(hyper::StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        ArtifactError::BrokenOff | ArtifactError::Empty => Problem::bad_request(error.to_string()),
        error => {
            tracing::error!(%error, "an artifact can't be stored");
            Problem::internal()
        }
    })?;
    let by = call.by();
    app.writer.write(move |store| rules::releases::keep_artifact(store, sha256, size_bytes, &by)).await?;
    // The upload may have replaced a broken image. If this fails, the image is stored nevertheless, and the count is updated within a
    // minute.
    let _ = scrub::count_broken(app).await;
    Ok(Json(Artifact { sha256, size_bytes }))
}

/// Page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleasesQuery {
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists releases in the order of creation.
pub async fn list(call: Call, Query(query): Query<ReleasesQuery>) -> Result<Json<Page<Release>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let found = call.reader.ask(move |store| store.releases(after, limit)).await?;
    let page = Page::of(found, limit, |release| release.row, Release::of);
    Ok(Json(Page { items: page.items.into_iter().flatten().collect(), next_cursor: page.next_cursor }))
}

pub async fn get(call: Call, _: NoInput) -> Result<Json<Release>, Problem> {
    let release_id = call.path("release_id")?;
    load(&call, &release_id).await
}

async fn find(call: &Call, release_id: &ReleaseId) -> Result<ReleaseRecord, Problem> {
    let wanted = release_id.clone();
    let found = call.reader.ask(move |store| store.release(&wanted)).await?;
    found.ok_or_else(|| Problem::not_found(format!("unknown release {release_id}")))
}

async fn load(call: &Call, release_id: &ReleaseId) -> Result<Json<Release>, Problem> {
    Release::of(find(call, release_id).await?).map(Json).ok_or_else(Problem::internal)
}

/// A manifest signed offline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// The whole manifest, with FW_SIG as its last line.
    #[schemars(length(min = 1, max = 4096))]
    manifest: String,
}

/// Creates a draft that the server signs when it is staged.
pub async fn draft(call: Call, JsonBody(fields): JsonBody<ReleaseFields>) -> Result<Json<Release>, Problem> {
    let (app, by) = (&call.app, call.by());
    let release_id =
        releases::draft(&fields, &app.keyring, &app.writer, &app.admin_reader, &by).await.map_err(problem)?;
    load(&call, &release_id).await
}

/// Creates a draft from a manifest signed offline.
pub async fn draft_signed(call: Call, JsonBody(given): JsonBody<SignedManifest>) -> Result<Json<Release>, Problem> {
    let (app, by) = (&call.app, call.by());
    let release_id = releases::draft_signed(&given.manifest, &app.keyring, &app.writer, &by).await.map_err(problem)?;
    load(&call, &release_id).await
}

/// Reason for a state change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateChange {
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Signs a draft, unless it was signed offline, and checks it against its artifact.
pub async fn stage(call: Call, JsonBody(change): JsonBody<StateChange>) -> Result<Json<Release>, Problem> {
    check_reason(&change.reason)?;
    let (app, by, release_id) = (&call.app, call.by(), call.path("release_id")?);
    let release = find(&call, &release_id).await?;
    releases::stage(&release, &app.keyring, &app.writer, &app.admin_reader, &change.reason, &by)
        .await
        .map_err(problem)?;
    load(&call, &release_id).await
}

/// Allows rollouts to offer a staged release.
pub async fn activate(call: Call, JsonBody(change): JsonBody<StateChange>) -> Result<Json<Release>, Problem> {
    check_reason(&change.reason)?;
    let (app, by, release_id) = (&call.app, call.by(), call.path("release_id")?);
    let release = find(&call, &release_id).await?;
    releases::activate(&release, &app.keyring, &app.artifacts, &app.writer, &change.reason, &by)
        .await
        .map_err(problem)?;
    load(&call, &release_id).await
}

/// Revokes a release permanently and aborts its rollouts.
pub async fn revoke(call: Call, JsonBody(change): JsonBody<StateChange>) -> Result<Json<Release>, Problem> {
    check_reason(&change.reason)?;
    let (app, by, release_id) = (&call.app, call.by(), call.path("release_id")?);
    releases::revoke(&release_id, &app.writer, &change.reason, &by, driver::evaluation_now(app))
        .await
        .map_err(problem)?;
    load(&call, &release_id).await
}

fn problem(error: ReleaseError) -> Problem {
    match error {
        ReleaseError::Store(error) => error.into(),
        ReleaseError::Field(_) | ReleaseError::Manifest(_) => Problem::bad_request(error.to_string()),
        ReleaseError::Refused(ReleaseRefused::Unknown(_)) => Problem::not_found(error.to_string()),
        ReleaseError::Keys(error @ KeyringError::NoFirmwareKey) => {
            Problem::conflict(format!("{error}; sign the manifest offline with `ks-server firmware sign`"))
        }
        ReleaseError::Keys(error) => {
            tracing::error!(%error, "a release can't be signed");
            Problem::internal()
        }
        error => Problem::conflict(error.to_string()),
    }
}
