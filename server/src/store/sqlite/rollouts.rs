//! Rollouts in SQLite.

use std::collections::BTreeMap;

use ks_protocol::{
    id::{DeviceId, ReleaseId, RolloutId, Sequence},
    message::{FirmwareStatus, Heartbeat, Offer, UpdateClass, UpdateStep},
    text::Text,
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Denied, SqliteReader, StoreError, Writes, advance, audit::append, filter::Filter, integer, parsed, parsed_if,
    releases, rows, time, time_if, transaction::Transaction, unsigned, word,
};
use crate::{
    rollout::{
        devices,
        policy::Policy,
        step::{Cell, Decision, State, Status, Tally},
        update::{Patience, Update, UpdateEvent, UpdateState, step},
    },
    store::{
        By,
        devices::Selector,
        releases::{ReleaseRecord, ReleaseState},
        rollouts::{
            Candidate, DecisionRecord, NewRollout, Offering, RolloutReads, RolloutRecord, RolloutRefused,
            RolloutWrites, SiteSilence, StatusTaken, UpdateFilter, UpdateRecord,
        },
    },
};

/// The columns of an update, in the order that [`update_at`] reads them.
const UPDATE: &str =
    "u.state, u.boot_epoch, u.said_done, u.offered_at, u.progress_at, u.confirming_since, u.ended_at, u.class";

/// An update whose columns begin at `first`.
fn update_at(row: &Row<'_>, first: usize, to_counter: u64) -> rusqlite::Result<Update> {
    let class: Option<String> = row.get(first + 7)?;
    Ok(Update {
        state: word(row, first, UpdateState::from_word)?,
        to_counter,
        boot_epoch: row.get(first + 1)?,
        said_done: row.get(first + 2)?,
        offered_at: time_if(row, first + 3)?,
        progress_at: time(row, first + 4)?,
        confirming_since: time_if(row, first + 5)?,
        ended_at: time_if(row, first + 6)?,
        class: class.and_then(|class| serde_json::from_value::<UpdateClass>(class.into()).ok()),
    })
}

fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database(error.to_string()))
}

/// A column that holds JSON; what is none was not written by this program.
fn json<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error)))
}

fn count_of(row: &Row<'_>, index: usize) -> rusqlite::Result<u32> {
    row.get::<_, i64>(index).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

fn stage_of(row: &Row<'_>, index: usize) -> rusqlite::Result<usize> {
    row.get::<_, i64>(index).map(|stage| usize::try_from(stage).unwrap_or(0))
}

/// The columns of a rollout, then those of its release, in the order that [`rollout_at`] reads them.
fn rollout_sql(rest: &str) -> String {
    format!(
        "SELECT r.id, r.rollout_id, r.policy, r.state, r.created_at, {} FROM rollouts r JOIN releases e ON e.id = r.release {rest}",
        releases::COLUMNS
    )
}

fn rollout_at(row: &Row<'_>) -> rusqlite::Result<RolloutRecord> {
    Ok(RolloutRecord {
        row: row.get(0)?,
        rollout_id: parsed(row, 1)?,
        policy: json(row, 2)?,
        state: json(row, 3)?,
        created_at: time(row, 4)?,
        release: releases::release_at(row, 5)?,
    })
}

fn find(connection: &Connection, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError> {
    let mut statement = connection.prepare_cached(&rollout_sql("WHERE r.rollout_id = ?1"))?;
    Ok(statement.query_row([rollout_id.as_str()], rollout_at).optional()?)
}

fn tally(connection: &Connection, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT stage, model, site, state, count(*) FROM updates WHERE rollout = ?1 GROUP BY 1, 2, 3, 4",
    )?;
    let cells = statement
        .query_map([rollout], |row| {
            Ok(Cell {
                stage: stage_of(row, 0)?,
                model: row.get(1)?,
                site: row.get(2)?,
                state: word(row, 3, UpdateState::from_word)?,
                count: count_of(row, 4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let suspects = connection
        .prepare_cached(
            "SELECT count(*) FROM updates u JOIN device_states s ON s.device = u.device
             WHERE u.rollout = ?1 AND u.state = 'CONFIRMED' AND s.last_seen_at < ?2",
        )?
        .query_row(params![rollout, integer(silent_before.0)], |row| count_of(row, 0))?;
    Ok(Tally { cells, suspects })
}

/// The registered devices that a selector means, of a model that the release is for.
fn candidates(
    connection: &Connection,
    release: &ReleaseRecord,
    which: &Selector,
) -> Result<Vec<Candidate>, StoreError> {
    let mut filter = Filter::default();
    filter.of_devices(which)?;
    filter.and_that("s.status = 1");
    let sql = format!(
        "SELECT d.id, d.device_id, d.model, d.site, s.release_counter,
                (SELECT r.rollout_id FROM updates u JOIN rollouts r ON r.id = u.rollout WHERE u.device = d.id AND u.is_open = 1),
                (SELECT count(*) FROM updates u WHERE u.device = d.id
                    AND u.state IN ('FAILED', 'REJECTED', 'TIMED_OUT', 'LOST', 'ROLLED_BACK', 'FALSE_SUCCESS')),
                EXISTS (SELECT 1 FROM updates u JOIN rollouts r ON r.id = u.rollout WHERE u.device = d.id AND r.release = {}
                    AND u.state IN ('FAILED', 'REJECTED', 'TIMED_OUT', 'LOST', 'ROLLED_BACK', 'FALSE_SUCCESS'))
         FROM devices d JOIN device_states s ON s.device = d.id {} ORDER BY d.id",
        release.row,
        filter.clause()
    );
    let mut statement = connection.prepare(&sql)?;
    let found = statement.query_map(filter.values().as_slice(), |row| {
        Ok(Candidate {
            row: row.get(0)?,
            device_id: parsed(row, 1)?,
            model: row.get(2)?,
            site: row.get(3)?,
            release_counter: unsigned(row.get(4)?),
            open_rollout: parsed_if(row, 5)?,
            failures: count_of(row, 6)?,
            has_failed_this: row.get(7)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// What decides a device's update in one of its own requests.
struct UnderWay {
    update: Update,
    policy: Policy,
    status: Status,
    release_state: ReleaseState,
    manifest: String,
    /// Nothing is wrong with the image.
    is_image_sound: bool,
}

impl UnderWay {
    /// Whether the release may be offered, or gone on with, now: the last word on it.
    fn may_go_on(&self) -> bool {
        !self.status.is_over() && self.release_state == ReleaseState::Active
    }
}

fn under_way(transaction: &Transaction<'_>, rollout: i64, device: i64) -> Result<Option<UnderWay>, StoreError> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT r.policy, r.status, e.state, e.release_counter, e.manifest,
                EXISTS (SELECT 1 FROM artifacts a WHERE a.sha256 = e.sha256 AND a.fault IS NULL), {UPDATE}
         FROM updates u JOIN rollouts r ON r.id = u.rollout JOIN releases e ON e.id = r.release
         WHERE u.rollout = ?1 AND u.device = ?2"
    ))?;
    let found = statement.query_row(params![rollout, device], |row| {
        let to_counter = unsigned(row.get(3)?);
        Ok(UnderWay {
            policy: json(row, 0)?,
            status: word(row, 1, |word| Status::ALL.into_iter().find(|status| status.as_str() == word))?,
            release_state: word(row, 2, ReleaseState::from_word)?,
            manifest: row.get(4)?,
            is_image_sound: row.get(5)?,
            update: update_at(row, 6, to_counter)?,
        })
    });
    Ok(found.optional()?)
}

fn save(transaction: &Transaction<'_>, rollout: i64, device: i64, update: &Update) -> Result<(), StoreError> {
    let ms = |at: Option<UnixMs>| at.map(|at| integer(at.0));
    transaction
        .prepare_cached(
            "UPDATE updates SET state = ?3, boot_epoch = ?4, said_done = ?5, offered_at = ?6, progress_at = ?7,
                confirming_since = ?8, ended_at = ?9, class = ?10 WHERE rollout = ?1 AND device = ?2",
        )?
        .execute(params![
            rollout,
            device,
            update.state.as_str(),
            update.boot_epoch,
            update.said_done,
            ms(update.offered_at),
            integer(update.progress_at.0),
            ms(update.confirming_since),
            ms(update.ended_at),
            update.class.map(UpdateClass::as_str)
        ])?;
    if matches!(update.state, UpdateState::Pending | UpdateState::Halted | UpdateState::Withdrawn) {
        transaction.prepare_cached("UPDATE device_states SET rollout = NULL WHERE device = ?1")?.execute([device])?;
    }
    if update.state == UpdateState::Withdrawn {
        // It may be in another rollout from now on, should it come back.
        transaction
            .prepare_cached("UPDATE updates SET is_open = 0 WHERE rollout = ?1 AND device = ?2")?
            .execute([rollout, device])?;
    }
    Ok(())
}

/// Tells the open update of a device, if it has one, what a person did to the device.
pub(super) fn take_out(
    transaction: &Transaction<'_>,
    device: i64,
    event: UpdateEvent,
    at: UnixMs,
) -> Result<(), StoreError> {
    let rollout: Option<i64> = transaction
        .prepare_cached("SELECT rollout FROM updates WHERE device = ?1 AND is_open = 1")?
        .query_row([device], |row| row.get(0))
        .optional()?;
    let Some(rollout) = rollout else { return Ok(()) };
    let Some(now) = under_way(transaction, rollout, device)? else { return Ok(()) };
    let next = step(&now.update, event, at, Patience::of(&now.policy));
    if next != now.update {
        save(transaction, rollout, device, &next)?;
    }
    Ok(())
}

/// Takes a heartbeat as a sign of how far the update of its device is. Gives the offer, if it is to be made, and whether the
/// update got anywhere.
pub(super) fn take_beat(
    transaction: &Transaction<'_>,
    rollout: i64,
    device: i64,
    beat: &Heartbeat,
    at: UnixMs,
) -> Result<(Option<Offer>, bool), StoreError> {
    let Some(now) = under_way(transaction, rollout, device)? else { return Ok((None, false)) };
    let event = UpdateEvent::Beat { release_counter: beat.firmware.release_counter, boot_epoch: beat.boot_epoch };
    let next = step(&now.update, event, at, Patience::of(&now.policy));
    let has_changed = next != now.update;
    if has_changed {
        save(transaction, rollout, device, &next)?;
    }
    // A pause holds back offers that nobody has taken up yet; what is being fetched goes on.
    let is_due = match next.state {
        UpdateState::Offered => now.status != Status::Paused,
        UpdateState::Downloading => true,
        _ => false,
    };
    let offer =
        (is_due && now.is_image_sound && now.may_go_on()).then(|| Offer { manifest: Text::truncated(&now.manifest) });
    Ok((offer, has_changed))
}

impl RolloutWrites for Writes<'_> {
    fn create_rollout(&mut self, new: &NewRollout, by: &By) -> Result<Result<(), RolloutRefused>, StoreError> {
        let release = releases::find(&self.0, &new.release_id)?;
        let Some(release) = release.filter(|release| release.state == ReleaseState::Active) else {
            return Ok(Err(RolloutRefused::NotActive(new.release_id.clone())));
        };
        if find(&self.0, &new.rollout_id)?.is_some() {
            return Ok(Err(RolloutRefused::NameTaken(new.rollout_id.clone())));
        }
        for target in &new.targets {
            let mut statement =
                self.0.prepare_cached("SELECT EXISTS (SELECT 1 FROM updates WHERE device = ?1 AND is_open = 1)")?;
            if statement.query_row([target.row], |row| row.get::<_, bool>(0))? {
                return Ok(Err(RolloutRefused::InAnother));
            }
        }
        let rollout = self
            .0
            .prepare_cached(
                "INSERT INTO rollouts (rollout_id, release, policy, state, status, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .insert(params![
                new.rollout_id.as_str(),
                release.row,
                to_json(&new.policy)?,
                to_json(&new.state)?,
                new.state.status.as_str(),
                integer(by.at.0)
            ])?;
        for target in &new.targets {
            self.0
                .prepare_cached(
                    "INSERT INTO updates (rollout, device, stage, enters_bp, bucket, model, site, state)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'PENDING')",
                )?
                .execute(params![
                    rollout,
                    target.row,
                    rows(target.stage),
                    target.place.enters_bp,
                    integer(target.place.bucket >> 1), // SQLite's integers have a sign; the order is kept
                    target.model,
                    target.site
                ])?;
        }
        let why = format!("{} to {}: {}", new.release_id, devices(new.targets.len()), new.why);
        let State { stage, revision, .. } = new.state;
        let decision = Decision { what: "created", stage, revision, ordered: None, why, gates: Vec::new() };
        self.decide(rollout, &decision, by)?;
        Ok(Ok(()))
    }

    fn open_rollouts_of(&mut self, release_id: &ReleaseId) -> Result<Vec<RolloutId>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT r.rollout_id FROM rollouts r JOIN releases e ON e.id = r.release
             WHERE r.is_open = 1 AND e.release_id = ?1 ORDER BY r.id",
        )?;
        let found = statement.query_map([release_id.as_str()], |row| parsed(row, 0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn rollout_now(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError> {
        find(&self.0, rollout_id)
    }

    fn tally_now(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError> {
        tally(&self.0, rollout, silent_before)
    }

    fn watched(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Vec<UpdateRecord>, StoreError> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT u.device, d.device_id, u.model, u.site, u.stage, u.detail, s.last_seen_at, e.release_counter, {UPDATE}
             FROM updates u JOIN devices d ON d.id = u.device JOIN device_states s ON s.device = u.device
                JOIN rollouts r ON r.id = u.rollout JOIN releases e ON e.id = r.release
             WHERE u.rollout = ?1 AND (u.state IN ('OFFERED', 'DOWNLOADING', 'INSTALLING', 'CONFIRMING')
                OR u.state = 'CONFIRMED' AND s.last_seen_at < ?2)"
        ))?;
        let found = statement.query_map(params![rollout, integer(silent_before.0)], record_at)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn save_update(&mut self, rollout: i64, device: i64, update: &Update) -> Result<(), StoreError> {
        save(&self.0, rollout, device, update)
    }

    fn silence(&mut self, rollout: i64, since: UnixMs, silent_before: UnixMs) -> Result<Vec<SiteSilence>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT d.site, count(*), sum(s.last_seen_at < ?3) FROM devices d JOIN device_states s ON s.device = d.id
                LEFT JOIN updates u ON u.device = d.id AND u.rollout = ?1
             WHERE s.status = 1 AND s.last_seen_at >= ?2 AND coalesce(u.state, 'PENDING') IN ('PENDING', 'OFFERED', 'HALTED')
             GROUP BY d.site",
        )?;
        let found = statement.query_map(params![rollout, integer(since.0), integer(silent_before.0)], |row| {
            Ok(SiteSilence { site: row.get(0)?, devices: count_of(row, 1)?, silent: count_of(row, 2)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn offer(&mut self, rollout: i64, offering: &Offering) -> Result<u32, StoreError> {
        let Offering { count, stage, site_unavailable_max, heard_since, at } = *offering;
        let mut unavailable = unavailable(&self.0, rollout)?;
        let mut turn = self.0.prepare_cached(
            "SELECT u.device, u.site, s.boot_epoch FROM updates u JOIN device_states s ON s.device = u.device
             WHERE u.rollout = ?1 AND u.state = 'PENDING' AND u.stage <= ?2 AND s.status = 1 AND s.last_seen_at >= ?3
             ORDER BY u.enters_bp, u.bucket, u.device",
        )?;
        let mut waiting = turn.query(params![rollout, rows(stage), integer(heard_since.0)])?;
        let mut offered = Vec::new();
        while let Some(row) = waiting.next()? {
            if offered.len() >= usize::try_from(count).unwrap_or(usize::MAX) {
                break;
            }
            let (device, site, boot_epoch): (i64, String, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let at_site = unavailable.entry(site).or_default();
            if site_unavailable_max.is_none_or(|most| *at_site < most) {
                *at_site += 1;
                offered.push((device, boot_epoch));
            }
        }
        for (device, boot_epoch) in &offered {
            self.0
                .prepare_cached(
                    "UPDATE updates SET state = 'OFFERED', boot_epoch = ?3, offered_at = ?4, progress_at = ?4, said_done = 0,
                        class = NULL
                     WHERE rollout = ?1 AND device = ?2",
                )?
                .execute(params![rollout, device, boot_epoch, integer(at.0)])?;
            self.0
                .prepare_cached("UPDATE device_states SET rollout = ?2 WHERE device = ?1")?
                .execute(params![device, rollout])?;
        }
        Ok(u32::try_from(offered.len()).unwrap_or(u32::MAX))
    }

    fn halt(&mut self, rollout: i64, at: UnixMs) -> Result<Vec<DeviceId>, StoreError> {
        self.0
            .prepare_cached(
                "UPDATE device_states SET rollout = NULL WHERE device IN
                    (SELECT device FROM updates WHERE rollout = ?1 AND state = 'OFFERED')",
            )?
            .execute([rollout])?;
        self.0
            .prepare_cached(
                "UPDATE updates SET state = 'HALTED', ended_at = ?2 WHERE rollout = ?1 AND state IN ('PENDING', 'OFFERED')",
            )?
            .execute(params![rollout, integer(at.0)])?;
        devices_in(&self.0, rollout, "u.state = 'DOWNLOADING'")
    }

    fn took(&mut self, rollout: i64) -> Result<Vec<DeviceId>, StoreError> {
        // A device that was taken out may have come back with another key, and run the release still.
        let took = "u.state IN ('CONFIRMED', 'CONFIRMING', 'INSTALLING', 'TIMED_OUT', 'LOST', 'FALSE_SUCCESS')
            OR u.state = 'WITHDRAWN' AND u.offered_at IS NOT NULL";
        devices_in(&self.0, rollout, &format!("({took})"))
    }

    fn candidates_now(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError> {
        candidates(&self.0, release, which)
    }

    fn decision_of_revision(&mut self, rollout: i64, revision: u64) -> Result<Option<DecisionRecord>, StoreError> {
        let mut statement = self.0.prepare_cached(&format!("{DECISION} WHERE rollout = ?1 AND revision = ?2"))?;
        Ok(statement.query_row(params![rollout, integer(revision)], decision_at).optional()?)
    }

    fn save_rollout(&mut self, rollout: i64, state: &State) -> Result<(), StoreError> {
        self.0.prepare_cached("UPDATE rollouts SET state = ?2, status = ?3 WHERE id = ?1")?.execute(params![
            rollout,
            to_json(state)?,
            state.status.as_str()
        ])?;
        Ok(())
    }

    fn decide(&mut self, rollout: i64, decision: &Decision, by: &By) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT INTO rollout_decisions (rollout, at, actor, what, stage, revision, ordered, why, gates)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                rollout,
                integer(by.at.0),
                by.name,
                decision.what,
                rows(decision.stage),
                integer(decision.revision),
                decision.ordered,
                decision.why,
                to_json(&decision.gates)?
            ])?;
        let mut statement = self.0.prepare_cached("SELECT rollout_id FROM rollouts WHERE id = ?1")?;
        let name: String = statement.query_row([rollout], |row| row.get(0))?;
        append(&self.0, &format!("rollout.{}", decision.what), &name, &decision.why, by)
    }

    fn close_rollout(&mut self, rollout: i64) -> Result<(), StoreError> {
        for sql in [
            "UPDATE device_states SET rollout = NULL WHERE rollout = ?1",
            "UPDATE updates SET is_open = 0 WHERE rollout = ?1",
            "UPDATE rollouts SET is_open = 0 WHERE id = ?1",
        ] {
            self.0.prepare_cached(sql)?.execute([rollout])?;
        }
        Ok(())
    }

    fn record_status(
        &mut self,
        sequence: Sequence,
        status: &FirmwareStatus,
        at: UnixMs,
    ) -> Result<Result<StatusTaken, Denied>, StoreError> {
        let device = match advance(&self.0, &status.device_id, sequence, at)? {
            Ok(device) => device,
            Err(denied) => return Ok(Err(denied)),
        };
        let nothing = StatusTaken { go_on: false, has_changed: false };
        let rollout: Option<i64> = self
            .0
            .prepare_cached(
                "SELECT u.rollout FROM updates u JOIN rollouts r ON r.id = u.rollout JOIN releases e ON e.id = r.release
                 WHERE u.device = ?1 AND u.is_open = 1 AND e.release_id = ?2",
            )?
            .query_row(params![device, status.release_id.as_str()], |row| row.get(0))
            .optional()?;
        let Some(rollout) = rollout else { return Ok(Ok(nothing)) };
        let Some(now) = under_way(&self.0, rollout, device)? else { return Ok(Ok(nothing)) };
        let event = UpdateEvent::Status { step: status.step, class: status.class, boot_epoch: sequence.boot_epoch };
        let next = step(&now.update, event, at, Patience::of(&now.policy));
        let has_changed = next != now.update;
        if has_changed {
            save(&self.0, rollout, device, &next)?;
            self.0
                .prepare_cached("UPDATE updates SET detail = ?3 WHERE rollout = ?1 AND device = ?2")?
                .execute(params![rollout, device, status.detail.as_str()])?;
        }
        // Nothing is in a slot yet: the device asks whether to go on. Later it can't stop any more.
        let asks = matches!(status.step, UpdateStep::Downloading | UpdateStep::Installing);
        let go_on = !asks || (now.may_go_on() && next.state.is_in_flight());
        Ok(Ok(StatusTaken { go_on, has_changed: has_changed && next.state != now.update.state }))
    }
}

/// Devices by site that are out of service for a rollout.
fn unavailable(transaction: &Transaction<'_>, rollout: i64) -> Result<BTreeMap<String, u32>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT site, count(*) FROM updates WHERE rollout = ?1
            AND state IN ('OFFERED', 'DOWNLOADING', 'INSTALLING', 'CONFIRMING', 'LOST') GROUP BY site",
    )?;
    let found = statement.query_map([rollout], |row| Ok((row.get(0)?, count_of(row, 1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn devices_in(transaction: &Transaction<'_>, rollout: i64, which: &str) -> Result<Vec<DeviceId>, StoreError> {
    let sql = format!(
        "SELECT d.device_id FROM updates u JOIN devices d ON d.id = u.device WHERE u.rollout = ?1 AND {which} ORDER BY d.id"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let found = statement.query_map([rollout], |row| parsed(row, 0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn record_at(row: &Row<'_>) -> rusqlite::Result<UpdateRecord> {
    let to_counter = unsigned(row.get(7)?);
    Ok(UpdateRecord {
        device_row: row.get(0)?,
        device_id: parsed(row, 1)?,
        model: row.get(2)?,
        site: row.get(3)?,
        stage: stage_of(row, 4)?,
        detail: row.get(5)?,
        last_seen_at: time_if(row, 6)?,
        update: update_at(row, 8, to_counter)?,
    })
}

const DECISION: &str = "SELECT id, at, actor, what, stage, revision, ordered, why, gates FROM rollout_decisions";

fn decision_at(row: &Row<'_>) -> rusqlite::Result<DecisionRecord> {
    Ok(DecisionRecord {
        row: row.get(0)?,
        at: time(row, 1)?,
        actor: row.get(2)?,
        what: row.get(3)?,
        stage: stage_of(row, 4)?,
        revision: unsigned(row.get(5)?),
        ordered: row.get(6)?,
        why: row.get(7)?,
        gates: json(row, 8)?,
    })
}

impl RolloutReads for SqliteReader {
    fn open_rollout_ids(&mut self) -> Result<Vec<RolloutId>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT rollout_id FROM rollouts WHERE is_open = 1 ORDER BY id")?;
        let found = statement.query_map([], |row| parsed(row, 0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError> {
        find(&self.connection, rollout_id)
    }

    fn rollouts(&mut self, after: i64, limit: usize) -> Result<Vec<RolloutRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&rollout_sql("WHERE r.id > ?1 ORDER BY r.id LIMIT ?2"))?;
        let found = statement.query_map(params![after, rows(limit)], rollout_at)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn tally(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError> {
        tally(&self.connection, rollout, silent_before)
    }

    fn versions(&mut self, rollout: i64) -> Result<Vec<(String, u64)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT s.firmware_version, count(*) FROM updates u JOIN device_states s ON s.device = u.device
             WHERE u.rollout = ?1 GROUP BY 1 ORDER BY 1",
        )?;
        let found = statement.query_map([rollout], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn updates(
        &mut self,
        rollout: i64,
        which: &UpdateFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<UpdateRecord>, StoreError> {
        let mut filter = Filter::default();
        filter.and("u.rollout = ?", rollout);
        filter.and("u.device > ?", after);
        filter.and_if("u.state = ?", which.state.map(|state| state.as_str().to_owned()));
        filter.and_if("u.site = ?", which.site.clone());
        filter.and_if("u.model = ?", which.model.clone());
        let sql = format!(
            "SELECT u.device, d.device_id, u.model, u.site, u.stage, u.detail, s.last_seen_at, e.release_counter, {UPDATE}
             FROM updates u JOIN devices d ON d.id = u.device JOIN device_states s ON s.device = u.device
                JOIN rollouts r ON r.id = u.rollout JOIN releases e ON e.id = r.release
             {} ORDER BY u.device LIMIT {}",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), record_at)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn decisions(&mut self, rollout: i64, after: i64, limit: usize) -> Result<Vec<DecisionRecord>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{DECISION} WHERE rollout = ?1 AND id > ?2 ORDER BY id LIMIT ?3"))?;
        let found = statement.query_map(params![rollout, after, rows(limit)], decision_at)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn decided_after(&mut self, after: i64, limit: usize) -> Result<Vec<(RolloutId, DecisionRecord)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT d.id, d.at, d.actor, d.what, d.stage, d.revision, d.ordered, d.why, d.gates, r.rollout_id
             FROM rollout_decisions d JOIN rollouts r ON r.id = d.rollout WHERE d.id > ?1 ORDER BY d.id LIMIT ?2",
        )?;
        let found = statement.query_map(params![after, rows(limit)], |row| Ok((parsed(row, 9)?, decision_at(row)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError> {
        candidates(&self.connection, release, which)
    }
}
