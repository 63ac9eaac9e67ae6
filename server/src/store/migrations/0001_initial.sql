-- Devices: what the whitelist says of each. Rarely written.
CREATE TABLE devices (
    id            INTEGER PRIMARY KEY,
    device_id     TEXT    NOT NULL UNIQUE,
    public_key    BLOB    NOT NULL UNIQUE CHECK (length(public_key) = 32),
    serial        TEXT    NOT NULL,
    manufacturer  TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    site          TEXT    NOT NULL,
    imported_at   INTEGER NOT NULL,
    registered_at INTEGER,
    revoked_at    INTEGER,
    revoke_reason TEXT
) STRICT;

-- What changes with every request, kept narrow so that a group of commits touches few pages.
-- status: 0 whitelisted, 1 registered, 2 revoked. The pair (boot_epoch, seq) only ever grows.
CREATE TABLE device_states (
    device           INTEGER PRIMARY KEY REFERENCES devices (id),
    status           INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)),
    boot_epoch       INTEGER NOT NULL DEFAULT 0,
    seq              INTEGER NOT NULL DEFAULT 0,
    last_seen_at     INTEGER,
    open_commands    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One row each heartbeat, appended in the order of commits. No secondary index: one in random order would cost
-- five times the rest of the write.
CREATE TABLE device_heartbeats (
    id               INTEGER PRIMARY KEY,
    device_id        TEXT    NOT NULL,
    received_at      INTEGER NOT NULL,
    boot_epoch       INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    uptime_s         INTEGER NOT NULL,
    cpu_temp_c       REAL    NOT NULL,
    free_mem_kib     INTEGER NOT NULL,
    network          TEXT    NOT NULL,
    rssi_dbm         INTEGER,
    firmware_version TEXT    NOT NULL,
    release_counter  INTEGER NOT NULL,
    keyset_version   INTEGER NOT NULL,
    sent_at          INTEGER NOT NULL
) STRICT;

-- One-time registration tokens; only their SHA-256 is known here.
CREATE TABLE otrts (
    token_sha256    BLOB    PRIMARY KEY CHECK (length(token_sha256) = 32),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    bound_device_id TEXT,
    bound_model     TEXT,
    used_by         INTEGER REFERENCES devices (id),
    used_at         INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE commands (
    id           INTEGER PRIMARY KEY,
    command_id   TEXT    NOT NULL UNIQUE,
    device       INTEGER NOT NULL REFERENCES devices (id),
    kind         TEXT    NOT NULL,
    argument     TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    deadline_at  INTEGER NOT NULL,
    delivered_at INTEGER,
    finished_at  INTEGER,
    detail       TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX commands_open ON commands (device, id) WHERE state IN ('QUEUED', 'DELIVERED', 'RECEIVED');

-- Who did what to what, when; appended in the transaction that does it.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL
) STRICT;
