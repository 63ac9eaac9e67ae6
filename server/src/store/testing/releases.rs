//! Guarantees about releases and their artifacts.

use ks_protocol::{id::ReleaseId, text::Sha256};

use super::{
    AT, by, commit,
    rollout_setup::{ARTIFACT, active, change, change_with, draft, manifest_of, minutes, new_release, stored_release},
};
use crate::{
    rules,
    store::{
        Store, StoreReader,
        audit::AuditFilter,
        releases::{NewRelease, ReleaseRefused, ReleaseState},
    },
};

/// Guarantee: a release goes through DRAFT, STAGED, ACTIVE and REVOKED in this order; its name is unique, and once it is staged
/// nothing of it changes. A repeated request changes nothing.
pub fn a_release_keeps_its_order_of_states_and_never_changes(store: &mut impl Store, reader: &mut impl StoreReader) {
    use ReleaseState as S;
    let name: ReleaseId = "fw-2".parse().unwrap();
    let refused = |is, wanted| Err(ReleaseRefused::State { release_id: "fw-2".parse().unwrap(), is, wanted });
    assert_eq!(change(store, "fw-2", S::Staged), Err(ReleaseRefused::Unknown(name.clone())));
    commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    assert_eq!([draft(store, &new_release("fw-2", 2)), draft(store, &new_release("fw-2", 2))], [Ok(()), Ok(())]);
    let taken = Err(ReleaseRefused::NameTaken(name.clone()));
    assert_eq!(draft(store, &NewRelease { manifest: "another".to_owned(), ..new_release("fw-2", 3) }), taken);
    assert_eq!(change(store, "fw-2", S::Active), refused(S::Draft, S::Active), "unsigned");
    assert_eq!(change_with(store, "fw-2", S::Staged, Some("signed"), minutes(1)), Ok(()));
    let staged = reader.release(&name).unwrap().unwrap();
    assert_eq!((staged.state, staged.manifest.as_str(), staged.reason.as_str()), (S::Staged, "signed", "to STAGED"));
    assert_eq!((staged.created_at, staged.changed_at), (AT, minutes(1)));
    assert_eq!(change_with(store, "fw-2", S::Staged, Some("signed anew"), minutes(2)), Ok(()), "said again");
    assert_eq!(draft(store, &NewRelease { manifest: "another".to_owned(), ..new_release("fw-2", 2) }), taken);
    assert_eq!(reader.release(&name).unwrap().unwrap(), staged);
    assert_eq!(change(store, "fw-2", S::Draft), refused(S::Staged, S::Draft));
    assert_eq!(change(store, "fw-2", S::Active), Ok(()));
    for back in [S::Draft, S::Staged] {
        assert_eq!(change(store, "fw-2", back), refused(S::Active, back));
    }
    assert_eq!(change_with(store, "fw-2", S::Revoked, None, minutes(3)), Ok(()));
    for back in [S::Draft, S::Staged, S::Active] {
        assert_eq!(change(store, "fw-2", back), refused(S::Revoked, back));
    }
    let revoked = reader.release(&name).unwrap().unwrap();
    assert_eq!((revoked.state, revoked.changed_at), (S::Revoked, minutes(3)));
    assert_eq!((revoked.manifest, revoked.release_counter, revoked.sha256), ("signed".to_owned(), 2, ARTIFACT));
    let steps = AuditFilter { action: Some("release.".to_owned()), ..AuditFilter::default() };
    assert_eq!(reader.audit(&steps, 0, 99).unwrap().len(), 4, "one line per change, none for repeats");
    draft(store, &new_release("fw-3", 3)).unwrap();
    assert_eq!(change(store, "fw-3", S::Revoked), Ok(()), "a draft can be revoked too");
    let listed = reader.releases(0, 9).unwrap();
    assert_eq!(listed.iter().map(|release| release.release_id.as_str()).collect::<Vec<_>>(), ["fw-2", "fw-3"]);
    assert_eq!(reader.releases(listed[0].row, 9).unwrap(), listed[1..], "paged by row");
}

/// Guarantee: a counter of a product belongs to one release, even after that is revoked.
pub fn a_counter_serves_one_release(store: &mut impl Store, reader: &mut impl StoreReader) {
    draft(store, &new_release("fw-2", 2)).unwrap();
    let taken = Err(ReleaseRefused::CounterTaken("fw-2".parse().unwrap()));
    assert_eq!(draft(store, &new_release("fw-2b", 2)), taken);
    change(store, "fw-2", ReleaseState::Revoked).unwrap();
    assert_eq!(draft(store, &new_release("fw-2b", 2)), taken);
    assert_eq!(reader.release(&"fw-2b".parse().unwrap()).unwrap(), None);
    let of_another = NewRelease { product: "ks-gate".to_owned(), ..new_release("gate-2", 2) };
    assert_eq!([draft(store, &of_another), draft(store, &new_release("fw-3", 3))], [Ok(()), Ok(())]);
}

/// Guarantee: a release is staged only if its artifact is stored; an artifact is stored once.
pub fn staging_requires_the_artifact(store: &mut impl Store, reader: &mut impl StoreReader) {
    draft(store, &new_release("fw-2", 2)).unwrap();
    commit(store, |store| rules::releases::keep_artifact(store, Sha256([8; 32]), 5, &by()));
    assert_eq!(change(store, "fw-2", ReleaseState::Staged), Err(ReleaseRefused::NoArtifact(ARTIFACT)));
    assert_eq!(reader.release(&"fw-2".parse().unwrap()).unwrap().unwrap().state, ReleaseState::Draft);
    assert_eq!(reader.artifact_bytes(ARTIFACT).unwrap(), None);
    for _ in 0..2 {
        commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    }
    assert_eq!(reader.artifact_bytes(ARTIFACT).unwrap(), Some(1_000));
    assert_eq!(change(store, "fw-2", ReleaseState::Staged), Ok(()));
    let uploads = AuditFilter { action: Some("artifact.".to_owned()), ..AuditFilter::default() };
    assert_eq!(reader.audit(&uploads, 0, 99).unwrap().len(), 2, "one line for each artifact");
}

/// Guarantee: devices may fetch an artifact while a release that needs it is ACTIVE, and at no other time.
pub fn an_artifact_is_offered_only_while_a_release_is_active(store: &mut impl Store, reader: &mut impl StoreReader) {
    use ReleaseState as S;
    commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    assert_eq!(reader.offered_artifact_bytes(ARTIFACT).unwrap(), None);
    draft(store, &new_release("fw-2", 2)).unwrap();
    for (state, offered) in [(S::Staged, None), (S::Active, Some(1_000)), (S::Revoked, None)] {
        change(store, "fw-2", state).unwrap();
        assert_eq!(reader.offered_artifact_bytes(ARTIFACT).unwrap(), offered, "{state:?}");
    }
    assert_eq!(reader.artifact_bytes(ARTIFACT).unwrap(), Some(1_000), "it stays stored");
    active(store, "fw-3", 3);
    assert_eq!(reader.offered_artifact_bytes(ARTIFACT).unwrap(), Some(1_000), "another release needs it too");
}

/// Guarantee: once it is staged, nothing of a release changes, as [`ReleaseState::Staged`] states.
pub fn a_staged_manifest_is_not_changed_by_activation(store: &mut impl Store, reader: &mut impl StoreReader) {
    commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    draft(store, &new_release("fw-2", 2)).unwrap();
    change(store, "fw-2", ReleaseState::Staged).unwrap();
    for state in [ReleaseState::Active, ReleaseState::Revoked] {
        let _ = change_with(store, "fw-2", state, Some("another manifest"), AT); // refused or ignored
        assert_eq!(stored_release(reader, "fw-2").manifest, manifest_of("fw-2"), "{state:?}");
    }
}
