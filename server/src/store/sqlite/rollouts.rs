//! Rollouts in SQLite.

use super::{
    SqliteReader, StoreError, Writes,
    columns::{count_of, integer, json, parsed, parsed_if, rows, stage_of, status_number, time, to_json, unsigned},
    filter::Filter,
    releases,
    updates::words,
};
use crate::{
    rollout::{step::Decision, update::UpdateState},
    store::{
        Actor,
        audit::chain::Audited,
        devices::Selector,
        releases::ReleaseRecord,
        rollouts::{Candidate, DecisionRecord, NewRollout, NextState, RolloutReads, RolloutRecord, RolloutRows},
    },
};
use ks_protocol::{
    id::{DeviceId, ReleaseId, RolloutId},
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

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

/// The registered devices that a selector matches, of the release's models.
fn candidates(
    connection: &Connection,
    release: &ReleaseRecord,
    which: &Selector,
) -> Result<Vec<Candidate>, StoreError> {
    let mut filter = Filter::default();
    filter.of_devices(which)?;
    filter.and_that(concat!("s.status = ", status_number!(Registered)));
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

    fn insert_rollout(
        &mut self,
        new: &NewRollout,
        release: &ReleaseRecord,
        at: UnixMs,
        _: &Audited,
    ) -> Result<i64, StoreError> {
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

    fn save_rollout(&mut self, rollout: i64, next: NextState<'_>) -> Result<(), StoreError> {
        let state = next.state();
        self.0.prepare_cached("UPDATE rollouts SET state = ?2, status = ?3 WHERE id = ?1")?.execute(params![
            rollout,
            to_json(state)?,
            state.status.as_str()
        ])?;
        Ok(())
    }

    fn close_rollout(&mut self, rollout: i64, _: NextState<'_>) -> Result<(), StoreError> {
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
                "INSERT INTO rollout_decisions (rollout, at, actor, what, stage, revision, ordered, why, silent, gates)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
                decision.silent,
                to_json(&decision.gates)?
            ])?;
        Ok(())
    }

    fn decision_of_revision(&mut self, rollout: i64, revision: u64) -> Result<Option<DecisionRecord>, StoreError> {
        let mut statement = self.0.prepare_cached(&format!("{DECISION} WHERE rollout = ?1 AND revision = ?2"))?;
        Ok(statement.query_row(params![rollout, integer(revision)], decision_at).optional()?)
    }
}

const DECISION: &str =
    "SELECT id, at, actor, what, stage, revision, ordered, why, silent, gates FROM rollout_decisions";

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
        silent: row.get(8)?,
        gates: json(row, 9)?,
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
            "SELECT d.id, d.at, d.actor, d.what, d.stage, d.revision, d.ordered, d.why, d.silent, d.gates, r.rollout_id
             FROM rollout_decisions d JOIN rollouts r ON r.id = d.rollout WHERE d.id > ?1 ORDER BY d.id LIMIT ?2",
        )?;
        let found =
            statement.query_map(params![after, rows(limit)], |row| Ok((parsed(row, 10)?, decision_at(row)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn failed_updates(&mut self, device_id: &DeviceId) -> Result<u32, StoreError> {
        let failures = words(&UpdateState::all_that(UpdateState::is_failure));
        let sql = format!(
            "SELECT count(*) FROM updates u JOIN devices d ON d.id = u.device WHERE d.device_id = ?1 AND u.state IN ({failures})"
        );
        Ok(self.connection.prepare_cached(&sql)?.query_row([device_id.as_str()], |row| count_of(row, 0))?)
    }

    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError> {
        candidates(&self.connection, release, which)
    }
}
