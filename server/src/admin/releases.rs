//! /api/artifacts and /api/releases: firmware images, and the life of releases.

use ks_protocol::{id::ReleaseId, text::Sha256};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    devices::check_reason,
    page::{self, Page},
    route::{Call, Json, JsonBody, Nothing, Query, Upload},
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

/// An artifact that is kept.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Artifact {
    sha256: Sha256,
    size_bytes: u64,
}

/// Keeps a firmware image, hashed on its way in.
pub async fn upload(call: Call, Upload(body): Upload) -> Result<Json<Artifact>, Problem> {
    let app = &call.app;
    let uploaded = app.artifacts.upload(body, &upload_name(app.rng.bytes_32())).await;
    let (sha256, size_bytes) = uploaded.map_err(|error| match error {
        ArtifactError::TooLarge(_) => Problem::new(hyper::StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        ArtifactError::BrokenOff | ArtifactError::Empty => Problem::bad_request(error.to_string()),
        error => {
            tracing::error!(%error, "an artifact can't be kept");
            Problem::internal()
        }
    })?;
    let by = call.by();
    app.writer.write(move |store| rules::releases::keep_artifact(store, sha256, size_bytes, &by)).await?;
    // A broken image may be whole again. Should the store fail here, the image is kept all the same, and counted within a minute.
    let _ = scrub::count_broken(app).await;
    Ok(Json(Artifact { sha256, size_bytes }))
}

/// Which releases.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Rows at most.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists releases in the order they were made.
pub async fn list(call: Call, Query(list): Query<List>) -> Result<Json<Page<Release>>, Problem> {
    let (limit, after) = (page::limit(list.limit)?, page::after(list.cursor.as_deref(), 0)?);
    let found = call.reader.ask(move |store| store.releases(after, limit)).await?;
    let page = Page::of(found, limit, |release| release.row, Release::of);
    Ok(Json(Page { items: page.items.into_iter().flatten().collect(), next_cursor: page.next_cursor }))
}

/// Says how one release is.
pub async fn get(call: Call, _: Nothing) -> Result<Json<Release>, Problem> {
    let release_id = call.path("release_id")?;
    shown(&call, &release_id).await
}

async fn find(call: &Call, release_id: &ReleaseId) -> Result<ReleaseRecord, Problem> {
    let wanted = release_id.clone();
    let found = call.reader.ask(move |store| store.release(&wanted)).await?;
    found.ok_or_else(|| Problem::not_found(format!("there is no release {release_id}")))
}

async fn shown(call: &Call, release_id: &ReleaseId) -> Result<Json<Release>, Problem> {
    Release::of(find(call, release_id).await?).map(Json).ok_or_else(Problem::internal)
}

/// A manifest that was signed offline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// The whole text, its last line FW_SIG.
    #[schemars(length(min = 1, max = 4096))]
    manifest: String,
}

/// Keeps a draft that the server signs when it is staged.
pub async fn draft(call: Call, JsonBody(fields): JsonBody<ReleaseFields>) -> Result<Json<Release>, Problem> {
    let (app, by) = (&call.app, call.by());
    let release_id =
        releases::draft(&fields, &app.keyring, &app.writer, &app.admin_reader, &by).await.map_err(problem)?;
    shown(&call, &release_id).await
}

/// Keeps a draft that was signed offline.
pub async fn draft_signed(call: Call, JsonBody(given): JsonBody<SignedManifest>) -> Result<Json<Release>, Problem> {
    let (app, by) = (&call.app, call.by());
    let release_id = releases::draft_signed(&given.manifest, &app.keyring, &app.writer, &by).await.map_err(problem)?;
    shown(&call, &release_id).await
}

/// Why a release goes on in its life.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Signs a draft, unless it was, and holds it against its artifact.
pub async fn stage(call: Call, JsonBody(change): JsonBody<Change>) -> Result<Json<Release>, Problem> {
    check_reason(&change.reason)?;
    let (app, by, release_id) = (&call.app, call.by(), call.path("release_id")?);
    let release = find(&call, &release_id).await?;
    releases::stage(&release, &app.keyring, &app.writer, &app.admin_reader, &change.reason, &by)
        .await
        .map_err(problem)?;
    shown(&call, &release_id).await
}

/// Lets rollouts offer a staged release.
pub async fn activate(call: Call, JsonBody(change): JsonBody<Change>) -> Result<Json<Release>, Problem> {
    check_reason(&change.reason)?;
    let (app, by, release_id) = (&call.app, call.by(), call.path("release_id")?);
    let release = find(&call, &release_id).await?;
    releases::activate(&release, &app.keyring, &app.artifacts, &app.writer, &change.reason, &by)
        .await
        .map_err(problem)?;
    shown(&call, &release_id).await
}

/// Takes a release back for good, and aborts its rollouts.
pub async fn revoke(call: Call, JsonBody(change): JsonBody<Change>) -> Result<Json<Release>, Problem> {
    check_reason(&change.reason)?;
    let (app, by, release_id) = (&call.app, call.by(), call.path("release_id")?);
    releases::revoke(&release_id, &app.writer, &change.reason, &by, driver::evaluation_now(app))
        .await
        .map_err(problem)?;
    shown(&call, &release_id).await
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
