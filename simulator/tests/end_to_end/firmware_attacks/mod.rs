//! Goal: no attack of the Uptane and TUF lists ends in an install.
//! Method: a whole simulated device, under virtual time, against a server or a man in the middle who does the attack; what the
//! device says is read from its own documents, and what it runs from the ground truth that the simulation keeps.

mod scripted_server;

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{
    message::{Keyset, KeysetEntry, ServerKeyState, UpdateClass, UpdateStep},
    signature::{NO_SIG_DEV, seal_response},
    text::{Rows, Text},
};

use self::scripted_server::{
    ATTACKER, Artifact, EPOCH, FIRMWARE, IMAGE_BYTES, SERVER, Script, honest, image, key, manifest, meets, released,
    trust, usual,
};

// ---- What must work, or the rest would show nothing ----------------------------------------------------------------

/// Goal: the device installs what an honest server offers.
#[test]
fn an_honest_release_is_installed() {
    let came = meets(honest(), usual(), 2);
    let steps: Vec<_> = came.received.statuses.iter().map(|(step, _)| *step).collect();
    let all = [UpdateStep::Downloading, UpdateStep::Installing, UpdateStep::Rebooting, UpdateStep::Succeeded];
    assert_eq!(steps, all);
    assert_eq!(came.measured.updated.get("1.7.0"), Some(&1));
    assert_eq!(came.received.beats.first().unwrap(), &("1.0.0".to_owned(), 5, 1));
    assert_eq!(came.received.beats.last().unwrap(), &("1.7.0".to_owned(), 7, 2));
}

/// Goal: a download that breaks off goes on where it was.
/// Method: the connection breaks at three pieces; each is asked for again, and no other one.
#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let came = meets(Script { breaks: |number, _| [1, 2, 5].contains(&number), ..honest() }, usual(), 2);
    assert_eq!(came.measured.updated.get("1.7.0"), Some(&1));
    let starts: Vec<u64> = came.received.pieces.iter().map(|(from, _)| from / 65_536).collect();
    assert_eq!(starts, [0, 1, 1, 1, 2, 3, 3]);
}

/// Goal: a power cut in the middle of a download loses nothing of it.
/// Method: two of the four pieces come, and no other before the device has booted.
#[test]
fn a_power_cut_in_the_middle_of_a_download_loses_nothing() {
    let script =
        Script { breaks: |number, boot_epoch| number >= 2 && boot_epoch == 1, reboots_at: Some(5), ..honest() };
    let came = meets(script, usual(), 3);
    let pieces: Vec<_> = came.received.pieces.iter().map(|(from, epoch)| (from / 65_536, *epoch)).collect();
    let (before, after) = pieces.split_at(pieces.iter().position(|(_, epoch)| *epoch == 2).unwrap());
    assert_eq!(before[..3], [(0, 1), (1, 1), (2, 1)]);
    assert!(before[3..].iter().all(|(piece, _)| *piece == 2), "the third never comes before the cut: {before:?}");
    assert_eq!(after, [(2, 2), (3, 2)], "it goes on where it was");
    assert_eq!(came.measured.updated.get("1.7.0"), Some(&1));
    let boots: Vec<u32> = came.received.beats.iter().map(|(_, _, epoch)| *epoch).collect();
    assert_eq!(boots.last(), Some(&3), "the cut, and the boot into the new slot");
}

// ---- Attacks -------------------------------------------------------------------------------------------------------

/// Arbitrary software: a manifest by an untrusted key.
#[test]
fn a_manifest_signed_by_an_attacker_is_refused() {
    let offer = manifest(&image(IMAGE_BYTES), ATTACKER).signed_by(&key(ATTACKER)).unwrap();
    meets(Script { offer: Some(offer), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
    // Also if it takes the trusted key's name.
    let offer = manifest(&image(IMAGE_BYTES), FIRMWARE).signed_by(&key(ATTACKER)).unwrap();
    meets(Script { offer: Some(offer), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
}

/// Arbitrary software: an honest manifest, changed on its way; the answer is signed by a leaked server key, or it would not
/// get so far.
#[test]
fn a_manifest_that_was_changed_is_refused() {
    let changed = honest().offer.unwrap().replace("version: 1.7.0", "version: 6.6.6");
    meets(Script { offer: Some(changed), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
}

/// Arbitrary software: other bytes under an honest manifest.
#[test]
fn other_bytes_of_the_same_length_are_refused() {
    let mut other = image(IMAGE_BYTES);
    other[100_000] ^= 1;
    meets(Script { artifact: Artifact::Bytes(other), ..honest() }, usual(), 2).refused_as(UpdateClass::HashMismatch);
}

/// Rollback: an honest release that is older than what runs.
#[test]
fn an_older_release_is_refused() {
    meets(released(|manifest| manifest.release_counter = 4), usual(), 2).refused_as(UpdateClass::Rollback);
}

/// Rollback, seen closely: the same counter is no update, and no complaint.
#[test]
fn the_release_that_runs_is_left_alone() {
    let came = meets(released(|manifest| manifest.release_counter = 5), usual(), 2);
    came.nothing_was_installed();
    assert_eq!(came.received.statuses, []);
}

/// Freeze: an attacker holds newer releases back and presents one that has expired; or one that is not yet valid.
#[test]
fn a_manifest_past_its_time_or_before_it_is_refused() {
    let expired = released(|manifest| manifest.expires_at = EPOCH + Duration::from_millis(1));
    meets(expired, usual(), 2).refused_as(UpdateClass::Freeze);
    let early = released(|manifest| manifest.not_before = EPOCH + Duration::from_hours(48));
    meets(early, usual(), 2).refused_as(UpdateClass::NotYetValid);
}

/// Mix and match: the manifest of one honest release with the artifact of another one.
#[test]
fn the_artifact_of_another_release_is_refused() {
    let same_length = image(IMAGE_BYTES + 1)[1..].to_vec();
    meets(Script { artifact: Artifact::Bytes(same_length), ..honest() }, usual(), 2)
        .refused_as(UpdateClass::HashMismatch);
}

/// Wrong model: an honest release for another model, and for another product.
#[test]
fn a_release_for_something_else_is_refused() {
    let model = released(|manifest| manifest.models = Rows::truncated(vec![Text::truncated("KS-900")]));
    meets(model, usual(), 2).refused_as(UpdateClass::WrongModel);
    let product = released(|manifest| manifest.product = Text::truncated("ks-gate"));
    meets(product, usual(), 2).refused_as(UpdateClass::WrongModel);
}

/// A release that needs another one first.
#[test]
fn a_release_that_skips_a_step_is_refused() {
    meets(released(|manifest| manifest.min_counter = Some(6)), usual(), 2).refused_as(UpdateClass::NotReady);
}

/// Endless data: more bytes than the manifest says, by one and by many.
#[test]
fn more_bytes_than_were_signed_are_refused() {
    for more in [1, 10_000_000] {
        let artifact = Artifact::TooMuch(image(IMAGE_BYTES), more);
        let came = meets(Script { artifact, ..honest() }, usual(), 2);
        let classes: Vec<_> = came.received.statuses.iter().filter_map(|(_, class)| *class).collect();
        // One byte too many in the first piece shifts the rest: the hash or the length says so.
        assert!(matches!(classes[..], [UpdateClass::EndlessData | UpdateClass::HashMismatch]), "{more}: {classes:?}");
        came.nothing_was_installed();
    }
}

/// Slow retrieval: a drip that would take for ever.
#[test]
fn a_drip_is_given_up() {
    let artifact = Artifact::Drip(image(IMAGE_BYTES), 1);
    meets(Script { artifact, ..honest() }, usual(), 3).refused_as(UpdateClass::SlowRetrieval);
}

/// Slow retrieval: an artifact that never comes. The device can't tell that from a broken network: it goes on as it is.
#[test]
fn what_never_comes_is_never_installed() {
    let came = meets(Script { artifact: Artifact::Withheld, ..honest() }, usual(), 3);
    came.nothing_was_installed();
    assert_eq!(came.received.statuses, [(UpdateStep::Downloading, None)]);
    // Backoff, which each heartbeat that is answered begins anew.
    assert!(came.received.pieces.len() < 1_500, "{}", came.received.pieces.len());
}

/// Key compromise before the rotation: the firmware key has leaked, and the server's has not. The attacker can sign a release,
/// and no answer that the device believes.
#[test]
fn a_leaked_firmware_key_alone_offers_nothing() {
    let offer = manifest(&image(IMAGE_BYTES), FIRMWARE).signed_by(&key(FIRMWARE)).unwrap();
    let trusted = usual();
    let came = meets(Script { answers: ATTACKER, offer: Some(offer), ..honest() }, trusted, 2);
    assert!(came.measured.updated.is_empty() && came.received.statuses.is_empty() && came.received.pieces.is_empty());
}

/// Key compromise before the rotation: the server's key has leaked, and the firmware key has not. The attacker is believed in
/// all but firmware.
#[test]
fn a_leaked_server_key_alone_installs_nothing() {
    let offer = manifest(&image(IMAGE_BYTES), SERVER).signed_by(&key(SERVER)).unwrap();
    meets(Script { offer: Some(offer), ..honest() }, usual(), 2).refused_as(UpdateClass::BadSignature);
}

/// Key compromise after the rotation: the device has walked to a keyset without the leaked keys, and believes neither any more.
/// Method: the honest server publishes keyset 2 with other keys; then the same release by the old firmware key.
#[test]
fn keys_that_were_rotated_out_are_worth_nothing() {
    const NEXT_SERVER: u8 = 4;
    const NEXT_FIRMWARE: u8 = 5;
    let entry = |seed: u8, state| KeysetEntry {
        key_id: key(seed).public_key().key_id(),
        state,
        public_key: key(seed).public_key(),
    };
    let keyset = Keyset {
        kind: Default::default(),
        version: 2,
        threshold: 1,
        expires_at: EPOCH + Duration::from_hours(24 * 90),
        keys: Rows::truncated(vec![
            entry(SERVER, ServerKeyState::Retired),
            entry(NEXT_SERVER, ServerKeyState::Signing),
            entry(NEXT_FIRMWARE, ServerKeyState::Firmware),
        ]),
        signatures: Rows::default(),
    };
    let (old, next) = (key(SERVER), key(NEXT_SERVER));
    let (old_id, next_id) = (old.public_key().key_id(), next.public_key().key_id());
    let signed = keyset.signed_by(&[(&old_id, &old), (&next_id, &next)]).unwrap();
    let answer = seal_response(&next, &next_id, 200, NO_SIG_DEV, &signed).unwrap();
    let script = Script {
        answers: NEXT_SERVER,
        keysets: BTreeMap::from([(2, answer)]),
        keyset_version: 2,
        ..honest() // its release is signed by the firmware key that is out
    };
    meets(script, trust(1, &[SERVER, NEXT_SERVER], &[FIRMWARE]), 2).refused_as(UpdateClass::BadSignature);
    // And answers signed by a removed key are trusted as little as a stranger's.
    let gone = meets(honest(), trust(3, &[NEXT_SERVER], &[NEXT_FIRMWARE]), 2);
    assert!(gone.measured.updated.is_empty() && gone.received.statuses.is_empty());
}

/// Replay: an honest answer with an offer, sent again to later heartbeats, is the answer to none of them.
#[test]
fn an_old_answer_is_not_believed_again() {
    let came = meets(Script { replays: true, artifact: Artifact::Withheld, ..honest() }, usual(), 2);
    assert!(came.measured.updated.is_empty());
    assert!(came.measured.bad_server_signatures > 30, "{}", came.measured.bad_server_signatures);
}
