//! Releases and their images: what may be stored, and which state a release may change to.

use ks_protocol::text::{Sha256, counted};

use crate::store::{
    Actor, StoreError, Transaction,
    audit::chain::note,
    releases::{NewRelease, ReleaseChange, ReleaseRecord, ReleaseRefused, ReleaseState},
};

/// Records that an image is stored and intact.
pub fn keep_artifact(
    store: &mut dyn Transaction,
    sha256: Sha256,
    size_bytes: u64,
    by: &Actor,
) -> Result<(), StoreError> {
    let known = store.artifact(sha256)?;
    if known.as_ref().is_some_and(|artifact| artifact.fault.is_none()) {
        return Ok(());
    }
    let noted = note(store, "artifact.upload", &sha256.to_string(), &counted(size_bytes, "byte"), by)?;
    match known {
        Some(_) => store.set_artifact_fault(sha256, None, &noted),
        None => store.insert_artifact(sha256, size_bytes, by.at, &noted),
    }
}

/// Records an image's fault, or that it has none; its releases are not offered as long as it has one.
pub fn note_artifact(
    store: &mut dyn Transaction,
    sha256: Sha256,
    fault: Option<&str>,
    by: &Actor,
) -> Result<(), StoreError> {
    let action = if fault.is_some() { "artifact.broken" } else { "artifact.sound" };
    let noted = note(store, action, &sha256.to_string(), fault.unwrap_or_default(), by)?;
    store.set_artifact_fault(sha256, fault, &noted)
}

/// Stores a draft. Storing the same draft again changes nothing.
pub fn draft(
    store: &mut dyn Transaction,
    new: &NewRelease,
    by: &Actor,
) -> Result<Result<(), ReleaseRefused>, StoreError> {
    if let Some(known) = store.release(&new.release_id)? {
        let is_same = known.manifest == new.manifest;
        return Ok(if is_same { Ok(()) } else { Err(ReleaseRefused::NameTaken(new.release_id.clone())) });
    }
    if let Some(taken) = store.release_with_counter(&new.product, new.release_counter)? {
        return Ok(Err(ReleaseRefused::CounterTaken(taken)));
    }
    let detail = format!("{} {} counter {}", new.product, new.version, new.release_counter);
    let noted = note(store, "release.draft", new.release_id.as_str(), &detail, by)?;
    store.insert_release(new, by.at, &noted)?;
    Ok(Ok(()))
}

/// Changes the state of a release. Requesting its current state changes nothing.
pub fn change(
    store: &mut dyn Transaction,
    change: &ReleaseChange,
    by: &Actor,
) -> Result<Result<(), ReleaseRefused>, StoreError> {
    let ReleaseChange { release_id, state, manifest, reason } = change;
    let Some(known) = store.release(release_id)? else {
        return Ok(Err(ReleaseRefused::Unknown(release_id.clone())));
    };
    if known.state == *state {
        return Ok(Ok(()));
    }
    if !known.state.may_become(*state) {
        let (release_id, is, wanted) = (release_id.clone(), known.state, *state);
        return Ok(Err(ReleaseRefused::State { release_id, is, wanted }));
    }
    let is_staged = *state == ReleaseState::Staged;
    if is_staged && store.artifact(known.sha256)?.is_none() {
        return Ok(Err(ReleaseRefused::NoArtifact(known.sha256)));
    }
    let action = match state {
        ReleaseState::Draft => "release.draft",
        ReleaseState::Staged => "release.stage",
        ReleaseState::Active => "release.activate",
        ReleaseState::Revoked => "release.revoke",
    };
    let noted = note(store, action, release_id.as_str(), reason, by)?;
    // From STAGED on the manifest never changes.
    let signed = manifest.clone().filter(|_| is_staged);
    let next = ReleaseRecord {
        state: *state,
        manifest: signed.unwrap_or(known.manifest),
        changed_at: by.at,
        reason: reason.clone(),
        ..known
    };
    store.save_release(&next, &noted)?;
    Ok(Ok(()))
}
