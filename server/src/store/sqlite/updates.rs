//! Updates of devices in SQLite.

use std::collections::BTreeMap;

use ks_protocol::{message::UpdateClass, time::UnixMs};
use rusqlite::{Connection, Row, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{
        count_of, integer, json, list, parsed, rows, stage_of, status_at, status_number, time, time_if, unsigned, word,
    },
    filter::Filter,
};
use crate::{
    rollout::{
        tally::{Cell, Tally},
        update::{Update, UpdateState},
    },
    store::{
        audit::chain::Audited,
        releases::ReleaseState,
        rollouts::Target,
        updates::{
            Member, Notable, Offering, OpenUpdate, Silence, SilenceTimes, SiteSilence, Turn, UpdateFilter, UpdateReads,
            UpdateRecord, UpdateRows, Waiting,
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

/// These states in an `IN (...)`.
pub(super) fn words(states: &[UpdateState]) -> String {
    let words: Vec<String> = states.iter().map(|state| format!("'{}'", state.as_str())).collect();
    words.join(", ")
}

fn tally(connection: &Connection, rollout: i64, silent_before: Option<UnixMs>) -> Result<Tally, StoreError> {
    let cells = cells(
        connection,
        "SELECT stage, model, site, state, count FROM update_counts WHERE rollout = ?1 AND count > 0",
        params![rollout],
    )?;
    let Some(silent_before) = silent_before else { return Ok(Tally { cells, ..Tally::default() }) };
    let begun: u32 = cells.iter().filter(|cell| cell.state.may_be_lost()).map(|cell| cell.count).sum();
    let suspects = suspects(connection, rollout, silent_before, are_most(connection, begun)?)?;
    Ok(Tally { cells, suspects, taken: taken(connection, rollout)? })
}

/// Whether so many are a large part of the fleet, so that it is faster to look at each device of the fleet, in the order of rows: one costs
/// a tenth of a search by index.
fn are_most(connection: &Connection, devices: u32) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(device), 0) FROM device_states")?;
    let fleet: i64 = statement.query_row([], |row| row.get(0))?;
    Ok(i64::from(devices) * 8 > fleet)
}

/// The devices that may be lost and are silent, by cell. If they `are_most`, silent devices of the whole fleet are found first: they are few.
fn suspects(
    connection: &Connection,
    rollout: i64,
    silent_before: UnixMs,
    are_most: bool,
) -> Result<Vec<Cell>, StoreError> {
    let from = if are_most {
        "device_states s CROSS JOIN updates u ON u.device = s.device"
    } else {
        "updates u INDEXED BY updates_turn JOIN device_states s ON s.device = u.device"
    };
    cells(
        connection,
        &format!(
            "SELECT u.stage, u.model, u.site, u.state, count(*) FROM {from}
         WHERE u.rollout = ?1 AND u.state IN ({}) AND u.is_open = 1 AND s.last_seen_at < ?2
         GROUP BY u.stage, u.model, u.site, u.state",
            words(&UpdateState::all_that(UpdateState::may_be_lost))
        ),
        params![rollout, integer(silent_before.0)],
    )
}

fn taken(connection: &Connection, rollout: i64) -> Result<u32, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM updates INDEXED BY updates_taken
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

impl UpdateRows for Writes<'_> {
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

    fn insert_updates(&mut self, rollout: i64, targets: &[Target], _: &Audited) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(
            "INSERT INTO updates (rollout, device, stage, enters_bp, bucket, model, site, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for target in targets {
            statement.execute(params![
                rollout,
                target.row,
                rows(target.stage),
                target.place.enters_bp,
                integer(target.place.bucket >> 1), // SQLite's integers are signed; the order stays the same
                target.model,
                target.site,
                UpdateState::Pending.as_str()
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
        SilenceTimes { since, known_since, silent_before }: SilenceTimes,
    ) -> Result<Vec<SiteSilence>, StoreError> {
        let unaffected = UpdateState::all_that(|state| !state.has_begun());
        let with_confirmed = [&unaffected[..], &[UpdateState::Confirmed]].concat();
        let sql = format!(
            "WITH reached (enters_bp, bucket, device) AS (
                SELECT enters_bp, bucket, device FROM updates WHERE rollout = ?1 AND offered_at IS NOT NULL
                ORDER BY enters_bp DESC, bucket DESC, device DESC LIMIT 1),
             registered AS (
                SELECT d.site, s.last_seen_at, u.state IS NULL OR u.state IN ({}) AS is_unaffected,
                    s.last_seen_at >= ?2 AND (u.state IS NULL OR u.state IN ({})
                        AND (u.offered_at IS NOT NULL OR r.device IS NULL
                            OR (u.enters_bp, u.bucket, u.device) > (r.enters_bp, r.bucket, r.device))) AS can_tell
                FROM devices d JOIN device_states s ON s.device = d.id LEFT JOIN reached r
                    LEFT JOIN updates u ON u.device = d.id AND u.rollout = ?1
                WHERE s.status = {} AND s.last_seen_at IS NOT NULL)
             SELECT site, sum(can_tell AND is_unaffected), sum(can_tell AND is_unaffected AND last_seen_at < ?3),
                sum(can_tell), sum(can_tell AND last_seen_at < ?3), sum(last_seen_at >= ?4), sum(last_seen_at >= ?3)
             FROM registered GROUP BY site",
            words(&unaffected),
            words(&with_confirmed),
            status_number!(Registered)
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let times = [since, silent_before, known_since].map(|at| integer(at.0));
        let found = statement.query_map(params![rollout, times[0], times[1], times[2]], |row| {
            Ok(SiteSilence {
                site: row.get(0)?,
                unaffected: Silence { devices: count_of(row, 1)?, silent: count_of(row, 2)? },
                with_confirmed: Silence { devices: count_of(row, 3)?, silent: count_of(row, 4)? },
                known: count_of(row, 5)?,
                heard: count_of(row, 6)?,
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
             WHERE u.rollout = ?1 AND u.state = '{}' AND u.stage <= ?2 AND s.status = {} AND s.last_seen_at >= ?3
                AND (u.enters_bp, u.bucket, u.device) > (?4, ?5, ?6)
             ORDER BY u.enters_bp, u.bucket, u.device LIMIT ?7",
            UpdateState::Pending.as_str(),
            status_number!(Registered)
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
        _: &Audited,
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

impl UpdateReads for SqliteReader {
    fn tally(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError> {
        tally(&self.connection, rollout, Some(silent_before))
    }

    fn versions(&mut self, rollout: i64) -> Result<Vec<(String, u64)>, StoreError> {
        // Counted here: SQLite would sort every device of the rollout first, for the few versions that there are.
        let mut statement = self.connection.prepare_cached(
            "SELECT s.firmware_version FROM updates u JOIN device_states s ON s.device = u.device WHERE u.rollout = ?1",
        )?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut devices = statement.query([rollout])?;
        while let Some(device) = devices.next()? {
            let version = device.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            match counts.get_mut(version) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(version.to_owned(), 1);
                }
            }
        }
        Ok(counts.into_iter().collect())
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
                filter.and_that(&in_states(&[UpdateState::Confirmed]));
                filter.and_that("u.is_open = 1");
                filter.and("s.last_seen_at < ?", integer(silent_before.0));
                "s.last_seen_at"
            }
            Notable::Waiting => {
                filter.and_that(&in_states(&UpdateState::all_that(UpdateState::is_in_flight)));
                "u.progress_at"
            }
            Notable::Unreached { stage } => {
                filter.and_that(&in_states(&[UpdateState::Pending]));
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
}
