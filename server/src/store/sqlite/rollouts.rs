//! Rollouts in SQLite.

use std::collections::BTreeMap;

use ks_protocol::{
    id::{ReleaseId, RolloutId},
    message::UpdateClass,
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    SqliteReader, StoreError, Writes, filter::Filter, integer, list, parsed, parsed_if, releases, rows, time, time_if,
    unsigned, word,
};
use crate::{
    rollout::{
        status::Status,
        step::{Decision, State},
        tally::{Cell, Tally},
        update::{Update, UpdateState},
    },
    store::{
        Actor,
        audit::chain::Audited,
        devices::Selector,
        releases::{ReleaseRecord, ReleaseState},
        rollouts::{
            Candidate, DecisionRecord, Member, NewRollout, Notable, Offering, OpenUpdate, RolloutReads, RolloutRecord,
            RolloutRows, SiteSilence, Target, Turn, UpdateFilter, UpdateRecord, Waiting,
        },
    },
};

/// The columns of an update, in the order that [`update_at`] reads them.
const UPDATE: &str =
    "u.state, u.boot_epoch, u.said_done, u.offered_at, u.progress_at, u.confirming_since, u.ended_at, u.class";

/// Updates with what [`record_at`] reads; `by` says which index finds them, if SQLite would choose another.
fn update_records(by: &str) -> String {
    format!(
        "SELECT u.device, d.device_id, u.model, u.site, u.stage, u.detail, s.last_seen_at, e.release_counter, {UPDATE}
         FROM updates u {by} JOIN devices d ON d.id = u.device JOIN device_states s ON s.device = u.device
            JOIN rollouts r ON r.id = u.rollout JOIN releases e ON e.id = r.release"
    )
}

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

/// A column with JSON; invalid JSON was not written by this program.
fn json<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error)))
}

/// These states in an `IN (...)`.
fn words(states: &[UpdateState]) -> String {
    let words: Vec<String> = states.iter().map(|state| format!("'{}'", state.as_str())).collect();
    words.join(", ")
}

fn count_of(row: &Row<'_>, index: usize) -> rusqlite::Result<u32> {
    row.get::<_, i64>(index).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

fn stage_of(row: &Row<'_>, index: usize) -> rusqlite::Result<usize> {
    row.get::<_, i64>(index).map(|stage| usize::try_from(stage).unwrap_or(0))
}

fn status_at(row: &Row<'_>, index: usize) -> rusqlite::Result<Status> {
    word(row, index, |word| Status::ALL.into_iter().find(|status| status.as_str() == word))
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

fn tally(connection: &Connection, rollout: i64, silent_before: Option<UnixMs>) -> Result<Tally, StoreError> {
    let cells = cells(
        connection,
        "SELECT stage, model, site, state, count FROM update_counts WHERE rollout = ?1 AND count > 0",
        params![rollout],
    )?;
    let Some(silent_before) = silent_before else { return Ok(Tally { cells, ..Tally::default() }) };
    let suspects = suspects(connection, rollout, silent_before)?;
    Ok(Tally { cells, suspects, taken: taken(connection, rollout)? })
}

fn suspects(connection: &Connection, rollout: i64, silent_before: UnixMs) -> Result<Vec<Cell>, StoreError> {
    cells(
        connection,
        &format!(
            "SELECT u.stage, u.model, u.site, u.state, count(*)
         FROM updates u INDEXED BY updates_turn JOIN device_states s ON s.device = u.device
         WHERE u.rollout = ?1 AND u.state IN ({}) AND u.is_open = 1 AND s.last_seen_at < ?2
         GROUP BY u.stage, u.model, u.site, u.state",
            words(&UpdateState::all_that(UpdateState::may_be_lost))
        ),
        params![rollout, integer(silent_before.0)],
    )
}

fn taken(connection: &Connection, rollout: i64) -> Result<u32, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM updates INDEXED BY updates_turn
         WHERE rollout = ?1 AND state = 'CONFIRMED' AND is_open = 0 AND EXISTS
            (SELECT 1 FROM rollouts WHERE id = ?1 AND is_open = 1)",
    )?;
    Ok(statement.query_row([rollout], |row| count_of(row, 0))?)
}

/// Cells, whose fields are the columns.
fn cells(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<Cell>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(parameters, |row| {
        Ok(Cell {
            stage: stage_of(row, 0)?,
            model: row.get(1)?,
            site: row.get(2)?,
            state: word(row, 3, UpdateState::from_word)?,
            count: count_of(row, 4)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// The registered devices that a selector matches, of the release's models.
fn candidates(
    connection: &Connection,
    release: &ReleaseRecord,
    which: &Selector,
) -> Result<Vec<Candidate>, StoreError> {
    let mut filter = Filter::default();
    filter.of_devices(which)?;
    filter.and_that("s.status = 1");
    let failures = words(&UpdateState::all_that(UpdateState::is_failure));
    let sql = format!(
        "SELECT d.id, d.device_id, d.model, d.site, s.release_counter,
                (SELECT r.rollout_id FROM updates u JOIN rollouts r ON r.id = u.rollout WHERE u.device = d.id AND u.is_open = 1
                    AND r.status <> 'COMPLETED'),
                (SELECT count(*) FROM updates u WHERE u.device = d.id AND u.state IN ({failures})),
                EXISTS (SELECT 1 FROM updates u JOIN rollouts r ON r.id = u.rollout WHERE u.device = d.id AND r.release = {}
                    AND u.state IN ({failures}))
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

impl RolloutRows for Writes<'_> {
    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError> {
        find(&self.0, rollout_id)
    }

    fn open_rollouts_of(&mut self, release_id: &ReleaseId) -> Result<Vec<RolloutId>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT r.rollout_id FROM rollouts r JOIN releases e ON e.id = r.release
             WHERE r.is_open = 1 AND e.release_id = ?1 ORDER BY r.id",
        )?;
        let found = statement.query_map([release_id.as_str()], |row| parsed(row, 0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError> {
        candidates(&self.0, release, which)
    }

    fn insert_rollout(&mut self, new: &NewRollout, release: &ReleaseRecord, at: UnixMs) -> Result<i64, StoreError> {
        let mut statement = self.0.prepare_cached(
            "INSERT INTO rollouts (rollout_id, release, policy, state, status, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        Ok(statement.insert(params![
            new.rollout_id.as_str(),
            release.row,
            to_json(&new.policy)?,
            to_json(&new.state)?,
            new.state.status.as_str(),
            integer(at.0)
        ])?)
    }

    fn save_rollout(&mut self, rollout: i64, state: &State) -> Result<(), StoreError> {
        self.0.prepare_cached("UPDATE rollouts SET state = ?2, status = ?3 WHERE id = ?1")?.execute(params![
            rollout,
            to_json(state)?,
            state.status.as_str()
        ])?;
        Ok(())
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

    fn insert_decision(
        &mut self,
        rollout: i64,
        decision: &Decision,
        by: &Actor,
        _: &Audited,
    ) -> Result<(), StoreError> {
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
        Ok(())
    }

    fn decision_of_revision(&mut self, rollout: i64, revision: u64) -> Result<Option<DecisionRecord>, StoreError> {
        let mut statement = self.0.prepare_cached(&format!("{DECISION} WHERE rollout = ?1 AND revision = ?2"))?;
        Ok(statement.query_row(params![rollout, integer(revision)], decision_at).optional()?)
    }

    fn devices_in_rollouts(&mut self, devices: &[i64]) -> Result<Vec<Member>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT u.device, u.rollout, r.status FROM updates u JOIN rollouts r ON r.id = u.rollout
             WHERE u.is_open = 1 AND u.device IN (SELECT value FROM json_each(?1)) ORDER BY u.device",
        )?;
        let found = statement.query_map([list(devices)?], |row| {
            Ok(Member { device: row.get(0)?, rollout: row.get(1)?, status: status_at(row, 2)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn insert_updates(&mut self, rollout: i64, targets: &[Target]) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "INSERT INTO updates (rollout, device, stage, enters_bp, bucket, model, site, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'PENDING')",
        )?;
        for target in targets {
            statement.execute(params![
                rollout,
                target.row,
                rows(target.stage),
                target.place.enters_bp,
                integer(target.place.bucket >> 1), // SQLite's integers are signed; the order stays the same
                target.model,
                target.site
            ])?;
        }
        Ok(())
    }

    fn tally(&mut self, rollout: i64, silent_before: Option<UnixMs>) -> Result<Tally, StoreError> {
        tally(&self.0, rollout, silent_before)
    }

    fn updates_in(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        silent_before: Option<UnixMs>,
    ) -> Result<Vec<UpdateRecord>, StoreError> {
        let sql = format!(
            "{} WHERE u.rollout = ?1 AND u.state IN ({}) AND (?2 IS NULL OR (u.is_open = 1 AND s.last_seen_at < ?2))
             ORDER BY u.device",
            update_records("INDEXED BY updates_turn"), // otherwise it reads every device of the rollout, to have them in order
            words(states)
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let silent_before = silent_before.map(|at| integer(at.0));
        let found = statement.query_map(params![rollout, silent_before], record_at)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn updates_by_site(&mut self, rollout: i64, states: &[UpdateState]) -> Result<BTreeMap<String, u32>, StoreError> {
        let sql = format!(
            "SELECT site, sum(count) FROM update_counts WHERE rollout = ?1 AND state IN ({}) AND count > 0 GROUP BY site",
            words(states)
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let found = statement.query_map([rollout], |row| Ok((row.get(0)?, count_of(row, 1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn silence(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        (since, known_since): (UnixMs, UnixMs),
        silent_before: UnixMs,
    ) -> Result<Vec<SiteSilence>, StoreError> {
        let sql = format!(
            "WITH reached (enters_bp, bucket, device) AS (
                SELECT enters_bp, bucket, device FROM updates WHERE rollout = ?1 AND offered_at IS NOT NULL
                ORDER BY enters_bp DESC, bucket DESC, device DESC LIMIT 1),
             registered AS (
                SELECT d.site, s.last_seen_at, s.last_seen_at >= ?2 AND (u.state IS NULL OR u.state IN ({})
                    AND (u.offered_at IS NOT NULL OR r.device IS NULL
                        OR (u.enters_bp, u.bucket, u.device) > (r.enters_bp, r.bucket, r.device))) AS can_tell
                FROM devices d JOIN device_states s ON s.device = d.id LEFT JOIN reached r
                    LEFT JOIN updates u ON u.device = d.id AND u.rollout = ?1
                WHERE s.status = 1 AND s.last_seen_at IS NOT NULL)
             SELECT site, sum(can_tell), sum(can_tell AND last_seen_at < ?3), sum(last_seen_at >= ?4), sum(last_seen_at >= ?3)
             FROM registered GROUP BY site",
            words(states)
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let times = [since, silent_before, known_since].map(|at| integer(at.0));
        let found = statement.query_map(params![rollout, times[0], times[1], times[2]], |row| {
            Ok(SiteSilence {
                site: row.get(0)?,
                devices: count_of(row, 1)?,
                silent: count_of(row, 2)?,
                known: count_of(row, 3)?,
                heard: count_of(row, 4)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn waiting_updates(
        &mut self,
        rollout: i64,
        offering: &Offering,
        after: Option<Turn>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let sql = format!(
            "SELECT u.enters_bp, u.bucket, u.device, u.site, s.boot_epoch, e.release_counter, {UPDATE}
             FROM updates u JOIN device_states s ON s.device = u.device
                JOIN rollouts r ON r.id = u.rollout JOIN releases e ON e.id = r.release
             WHERE u.rollout = ?1 AND u.state = 'PENDING' AND u.stage <= ?2 AND s.status = 1 AND s.last_seen_at >= ?3
                AND (u.enters_bp, u.bucket, u.device) > (?4, ?5, ?6)
             ORDER BY u.enters_bp, u.bucket, u.device LIMIT ?7"
        );
        let (enters_bp, bucket, device) =
            after.map_or((-1, 0, 0), |turn| (i64::from(turn.enters_bp), turn.bucket, turn.device));
        let mut statement = self.0.prepare_cached(&sql)?;
        let found = statement.query_map(
            params![
                rollout,
                rows(offering.stage),
                integer(offering.heard_since.0),
                enters_bp,
                bucket,
                device,
                rows(limit)
            ],
            |row| {
                let to_counter = unsigned(row.get(5)?);
                Ok(Waiting {
                    turn: Turn { enters_bp: row.get(0)?, bucket: row.get(1)?, device: row.get(2)? },
                    site: row.get(3)?,
                    boot_epoch: row.get(4)?,
                    update: update_at(row, 6, to_counter)?,
                })
            },
        )?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn open_updates(&mut self, devices: &[i64]) -> Result<Vec<OpenUpdate>, StoreError> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT u.rollout, e.release_id, e.state, e.manifest,
                    EXISTS (SELECT 1 FROM artifacts a WHERE a.sha256 = e.sha256 AND a.fault IS NULL),
                    r.policy, r.status, e.release_counter, {UPDATE}
             FROM updates u JOIN rollouts r ON r.id = u.rollout JOIN releases e ON e.id = r.release
             WHERE u.device = ?1 AND u.is_open = 1"
        ))?;
        let mut open = Vec::with_capacity(devices.len());
        for device in devices {
            let found = statement.query_map([device], |row| {
                let to_counter = unsigned(row.get(7)?);
                Ok(OpenUpdate {
                    device: *device,
                    rollout: row.get(0)?,
                    release_id: parsed(row, 1)?,
                    release_state: word(row, 2, ReleaseState::from_word)?,
                    manifest: row.get(3)?,
                    is_image_sound: row.get(4)?,
                    policy: json(row, 5)?,
                    status: status_at(row, 6)?,
                    update: update_at(row, 8, to_counter)?,
                })
            })?;
            for update in found {
                open.push(update?);
            }
        }
        Ok(open)
    }

    fn save_updates(&mut self, updates: &[(i64, i64, Update)]) -> Result<(), StoreError> {
        let ms = |at: Option<UnixMs>| at.map(|at| integer(at.0));
        let mut statement = self.0.prepare_cached(
            "UPDATE updates SET state = ?3, boot_epoch = ?4, said_done = ?5, offered_at = ?6, progress_at = ?7,
                confirming_since = ?8, ended_at = ?9, class = ?10 WHERE rollout = ?1 AND device = ?2",
        )?;
        for (rollout, device, update) in updates {
            statement.execute(params![
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
        }
        Ok(())
    }

    fn save_update_details(&mut self, details: &[(i64, i64, &str)]) -> Result<(), StoreError> {
        let sql = "UPDATE updates SET detail = ?3 WHERE rollout = ?1 AND device = ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        for (rollout, device, detail) in details {
            statement.execute(params![rollout, device, detail])?;
        }
        Ok(())
    }

    fn end_updates(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        ended: UpdateState,
        at: UnixMs,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE updates SET state = ?2, progress_at = ?3, ended_at = ?3 WHERE rollout = ?1 AND state IN ({})",
            words(states)
        );
        self.0.prepare_cached(&sql)?.execute(params![rollout, ended.as_str(), integer(at.0)])?;
        Ok(())
    }

    fn follow_beats(&mut self, devices: &[i64], rollout: Option<i64>) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached("UPDATE device_states SET rollout = ?2 WHERE device = ?1")?;
        for device in devices {
            statement.execute(params![device, rollout])?;
        }
        Ok(())
    }

    fn free_devices(&mut self, devices: &[(i64, i64)]) -> Result<(), StoreError> {
        let sql = "UPDATE updates SET is_open = 0 WHERE rollout = ?1 AND device = ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        for (rollout, device) in devices {
            statement.execute([rollout, device])?;
        }
        Ok(())
    }
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
        tally(&self.connection, rollout, Some(silent_before))
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
        let sql = format!("{} {} ORDER BY u.device LIMIT {}", update_records(""), filter.clause(), rows(limit));
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), record_at)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn notable_updates(
        &mut self,
        rollout: i64,
        which: Notable,
        silent_before: UnixMs,
        limit: usize,
    ) -> Result<Vec<UpdateRecord>, StoreError> {
        let mut filter = Filter::default();
        filter.and("u.rollout = ?", rollout);
        let in_states = |states: &[UpdateState]| format!("u.state IN ({})", words(states));
        let order = match which {
            Notable::Failed => {
                filter.and_that(&in_states(&UpdateState::all_that(UpdateState::is_failure)));
                "u.ended_at DESC"
            }
            Notable::Silent => {
                filter.and_that("u.state = 'CONFIRMED' AND u.is_open = 1");
                filter.and("s.last_seen_at < ?", integer(silent_before.0));
                "s.last_seen_at"
            }
            Notable::Waiting => {
                filter.and_that(&in_states(&UpdateState::all_that(UpdateState::is_in_flight)));
                "u.progress_at"
            }
            Notable::Unreached { stage } => {
                filter.and_that("u.state = 'PENDING'");
                filter.and("u.stage <= ?", rows(stage));
                filter.and("coalesce(s.last_seen_at, 0) < ?", integer(silent_before.0));
                "s.last_seen_at"
            }
        };
        let sql =
            format!("{} {} ORDER BY {order}, u.device LIMIT {}", update_records(""), filter.clause(), rows(limit));
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), record_at)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn update_times_ms(&mut self, limit: usize) -> Result<Vec<u64>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT confirming_since - offered_at FROM updates WHERE confirming_since >= offered_at
             ORDER BY confirming_since DESC, device LIMIT ?1",
        )?;
        let found = statement.query_map([rows(limit)], |row| Ok(unsigned(row.get(0)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn failed_since(&mut self, since: UnixMs) -> Result<Vec<i64>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT device FROM updates WHERE state IN ({}) AND ended_at >= ?1 ORDER BY device",
            words(&UpdateState::all_that(UpdateState::is_failure))
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map([integer(since.0)], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn last_decision(&mut self, rollout: i64) -> Result<Option<DecisionRecord>, StoreError> {
        let mut statement =
            self.connection.prepare_cached(&format!("{DECISION} WHERE rollout = ?1 ORDER BY id DESC LIMIT 1"))?;
        Ok(statement.query_row([rollout], decision_at).optional()?)
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
