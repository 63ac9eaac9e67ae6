//! What is stored, changed by name: as the passage of time, a crash or another program would. `stored.rs` is the reading half.

use super::World;

/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;
/// Milliseconds of an hour.
const HOUR_MS: i64 = 60 * MINUTE_MS;

impl World {
    fn change(&self, sql: &str) {
        self.sqlite().execute_batch(sql).unwrap();
    }

    /// Every session and bearer token has expired.
    pub(crate) fn expire_tokens(&self) {
        self.change("UPDATE tokens SET expires_at = 1");
    }

    /// The one-time registration tokens that are bound to nothing have expired.
    pub(crate) fn expire_unbound_otrts(&self) {
        self.change("UPDATE otrts SET expires_at = 1 WHERE bound_device_id IS NULL AND bound_model IS NULL");
    }

    /// No one-time registration token is bound to a model.
    pub(crate) fn unbind_otrts_from_models(&self) {
        self.change("UPDATE otrts SET bound_model = NULL");
    }

    /// The deadline of every command has passed.
    pub(crate) fn pass_deadlines(&self) {
        self.change("UPDATE commands SET deadline_at = 1");
    }

    /// The one order of commands was cut off by a crash after its first device.
    pub(crate) fn cut_off_order(&self) {
        self.change(
            r#"INSERT INTO orders_under_way
                 SELECT order_row, zeroblob(32),
                   '{"device_ids":null,"model":null,"site":null,"firmware_version":null,"label":null,"status":null}',
                   kind, argument, is_urgent, deadline_at, 'user:anna', '10.0.0.1' FROM commands WHERE device = 1;
               DELETE FROM commands WHERE device > 1;
               UPDATE device_states SET open_commands = 0 WHERE device > 1;
               UPDATE command_orders SET queued = 1, next_after = 1;"#,
        );
    }

    /// A device was last seen so many minutes earlier than it was; later, if the number is negative.
    pub(crate) fn age_last_seen(&self, device_id: &str, minutes: i64) {
        let sql = "UPDATE device_states SET last_seen_at = last_seen_at - ?2
                   WHERE device = (SELECT id FROM devices WHERE device_id = ?1)";
        assert_eq!(self.sqlite().execute(sql, (device_id, minutes * MINUTE_MS)).unwrap(), 1);
    }

    /// The server's last sign of life is an hour older.
    pub(crate) fn age_server_by_an_hour(&self) {
        assert_eq!(self.sqlite().execute("UPDATE server_alive SET at = at - ?1", [HOUR_MS]).unwrap(), 1);
    }

    /// An hour has passed since everything that presence is computed from; no gap is recorded.
    pub(crate) fn pass_an_hour(&self) {
        let connection = self.sqlite();
        connection.execute("UPDATE device_states SET last_seen_at = last_seen_at - ?1", [HOUR_MS]).unwrap();
        connection.execute("DELETE FROM observation_gaps", []).unwrap();
        self.age_server_by_an_hour();
    }

    /// The server wrote its last sign of life, and a gap before it, under a clock that was ten days ahead.
    pub(crate) fn put_server_ten_days_ahead(&self) {
        self.change(
            "UPDATE server_alive SET at = at + 864000000;
             INSERT INTO observation_gaps (from_at, to_at) SELECT at - 864000000 - 7200000, at FROM server_alive",
        );
    }

    /// So many heartbeats of a device are stored that were received that many seconds ago.
    pub(crate) fn insert_beats(&self, count: u32, device_id: &str, age_s: i64) {
        let insert = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
            INSERT INTO device_heartbeats (device_id, received_at, boot_epoch, seq, uptime_s, cpu_temp_c, free_mem_kib, network,
                firmware_version, release_counter, keyset_version, sent_at)
            SELECT ?2, (unixepoch('now') - ?3) * 1000, 1, n, 60, 40.0, 1000, 'wifi', '1.4.2', 17, 1, 0 FROM number";
        self.sqlite().execute(insert, (count, device_id, age_s)).unwrap();
    }

    /// No heartbeat can be stored, until [`World::mend_heartbeats`].
    pub(crate) fn break_heartbeats(&self) {
        self.change("ALTER TABLE device_heartbeats RENAME TO elsewhere");
    }

    pub(crate) fn mend_heartbeats(&self) {
        self.change("ALTER TABLE elsewhere RENAME TO device_heartbeats");
    }
}
