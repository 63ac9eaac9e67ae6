//! What is stored, asked by name. With `changed.rs` the only file of these tests that knows the tables, apart from those that damage
//! them or tamper with the audit.

use rusqlite::types::FromSql;

use super::World;

/// What is counted in the store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    AuditLines,
    Devices,
    /// Devices that have registered at some time.
    EverRegistered,
    RevokedDevices,
    LogLines,
    /// One-time registration tokens, used or not.
    Otrts,
    Punches,
    /// Sessions and bearer tokens that are not revoked.
    UnrevokedTokens,
    /// Commands that are not terminal, as the store counts them for its devices.
    OpenCommands,
    /// Different deadlines of commands.
    Deadlines,
    DevicesWithCommands,
    /// Devices last seen at a time that is ahead of the server's last sign of life.
    SeenInTheFuture,
    /// Times of an hour or more in which no server listened.
    LongGaps,
}

impl Count {
    fn sql(self) -> &'static str {
        match self {
            Self::AuditLines => "SELECT count(*) FROM audit",
            Self::Devices => "SELECT count(*) FROM devices",
            Self::EverRegistered => "SELECT count(*) FROM devices WHERE registered_at IS NOT NULL",
            Self::RevokedDevices => "SELECT count(*) FROM device_states WHERE status = 2",
            Self::LogLines => "SELECT count(*) FROM device_logs",
            Self::Otrts => "SELECT count(*) FROM otrts",
            Self::Punches => "SELECT count(*) FROM punches",
            Self::UnrevokedTokens => "SELECT count(*) FROM tokens WHERE revoked_at IS NULL",
            Self::OpenCommands => "SELECT sum(open_commands) FROM device_states",
            Self::Deadlines => "SELECT count(DISTINCT deadline_at) FROM commands",
            Self::DevicesWithCommands => "SELECT count(DISTINCT device) FROM commands",
            Self::SeenInTheFuture => {
                "SELECT count(*) FROM device_states WHERE last_seen_at > (SELECT at FROM server_alive)"
            }
            Self::LongGaps => "SELECT count(*) FROM observation_gaps WHERE to_at - from_at >= 3600000",
        }
    }
}

/// A line of the audit.
#[derive(Debug)]
pub(crate) struct AuditLine {
    pub(crate) actor: String,
    pub(crate) address: String,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

impl World {
    pub(crate) fn count(&self, what: Count) -> i64 {
        self.value(what.sql())
    }

    /// Every stored heartbeat as (device, boot epoch, seq), in the order of commits.
    pub(crate) fn beats(&self) -> Vec<(String, u32, i64)> {
        let connection = self.sqlite();
        let mut statement =
            connection.prepare("SELECT device_id, boot_epoch, seq FROM device_heartbeats ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// All that is stored of a heartbeat, as a JSON array; the first one is number 0.
    pub(crate) fn whole_beat(&self, number: u8) -> String {
        let columns = "device_id, received_at, boot_epoch, seq, uptime_s, cpu_temp_c, free_mem_kib, network, rssi_dbm,
            firmware_version, release_counter, keyset_version, sent_at";
        self.value(&format!("SELECT json_array({columns}) FROM device_heartbeats ORDER BY id LIMIT 1 OFFSET {number}"))
    }

    /// A field of the newest heartbeat, as a whole number.
    pub(crate) fn number_of_newest_beat(&self, field: &str) -> i64 {
        self.value(&format!("SELECT CAST({field} AS INTEGER) FROM device_heartbeats ORDER BY id DESC LIMIT 1"))
    }

    /// All that a device can change, as text: heartbeats, its state, its commands.
    pub(crate) fn trace_of_devices(&self) -> String {
        self.value(
            "SELECT json_array((SELECT count(*) FROM device_heartbeats),
                (SELECT json_group_array(json_array(device, status, boot_epoch, seq, last_seen_at)) FROM device_states),
                (SELECT json_group_array(json_array(command_id, state, detail)) FROM commands),
                (SELECT json_group_array(registered_at) FROM devices))",
        )
    }

    /// The lines of the audit that `is_meant`, the first one first.
    pub(crate) fn audit_lines(&self, is_meant: impl Fn(&AuditLine) -> bool) -> Vec<AuditLine> {
        let connection = self.sqlite();
        let mut statement =
            connection.prepare("SELECT actor, address, action, subject, detail FROM audit ORDER BY id").unwrap();
        let lines = statement.query_map([], |row| {
            let (actor, address, action) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(AuditLine { actor, address, action, subject: row.get(3)?, detail: row.get(4)? })
        });
        let mut lines: Vec<AuditLine> = lines.unwrap().collect::<Result<_, _>>().unwrap();
        lines.retain(is_meant);
        lines
    }

    /// The lines of one action.
    pub(crate) fn audit_of(&self, action: &str) -> Vec<AuditLine> {
        self.audit_lines(|line| line.action == action)
    }

    /// The devices that used a one-time registration token.
    pub(crate) fn users_of_otrts(&self) -> Vec<String> {
        self.column(
            "SELECT coalesce(device_id, 'of a key that no device has') FROM otrts LEFT JOIN devices ON public_key = used_key
             WHERE used_key IS NOT NULL",
        )
    }

    /// The detail of a command, as the device reported it.
    pub(crate) fn detail_of(&self, command_id: &str) -> String {
        self.value(&format!("SELECT detail FROM commands WHERE command_id = '{command_id}'"))
    }

    /// The badges of all punches, by `punch_no`.
    pub(crate) fn badges(&self) -> Vec<String> {
        self.column("SELECT badge FROM punches ORDER BY punch_no")
    }

    /// The server key that is announced and does not sign yet.
    pub(crate) fn announced_key(&self) -> String {
        self.value("SELECT key_id FROM server_keys WHERE state = 'ANNOUNCED'")
    }

    fn column<T: FromSql>(&self, sql: &str) -> Vec<T> {
        let connection = self.sqlite();
        let mut statement = connection.prepare(sql).unwrap();
        let values = statement.query_map([], |row| row.get(0)).unwrap();
        values.collect::<Result<_, _>>().unwrap()
    }
}
