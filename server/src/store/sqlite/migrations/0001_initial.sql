-- Devices: what the whitelist says of each. Rarely written. `version` grows with each edit, so that two people's edits can't
-- overwrite each other unseen.
CREATE TABLE devices (
    id            INTEGER PRIMARY KEY,
    device_id     TEXT    NOT NULL UNIQUE,
    public_key    BLOB    NOT NULL UNIQUE CHECK (length(public_key) = 32),
    serial        TEXT    NOT NULL,
    manufacturer  TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    site          TEXT    NOT NULL,
    version       INTEGER NOT NULL DEFAULT 1,
    imported_at   INTEGER NOT NULL,
    registered_at INTEGER,
    revoked_at    INTEGER,
    revoke_reason TEXT
) STRICT;

CREATE TABLE device_labels (
    device INTEGER NOT NULL REFERENCES devices (id),
    label  TEXT    NOT NULL,
    PRIMARY KEY (device, label)
) STRICT, WITHOUT ROWID;

-- Every key that a device ever had: none is ever used again, by anybody.
CREATE TABLE device_keys (
    public_key BLOB    PRIMARY KEY CHECK (length(public_key) = 32),
    device     INTEGER NOT NULL REFERENCES devices (id),
    since      INTEGER NOT NULL,
    until      INTEGER
) STRICT, WITHOUT ROWID;

-- What changes with every request, kept narrow so that a group of commits touches few pages. `rollout` is the open rollout in
-- which the device has been offered a release, none for most: that is all that a heartbeat looks at. `key_no` counts its keys: a
-- request that was verified with an earlier one is refused.
-- status: 0 whitelisted, 1 registered, 2 revoked. The pair (boot_epoch, seq) only ever grows.
CREATE TABLE device_states (
    device           INTEGER PRIMARY KEY REFERENCES devices (id),
    status           INTEGER NOT NULL DEFAULT 0 CHECK (status IN (0, 1, 2)),
    boot_epoch       INTEGER NOT NULL DEFAULT 0,
    seq              INTEGER NOT NULL DEFAULT 0,
    key_no           INTEGER NOT NULL DEFAULT 1,
    last_seen_at     INTEGER,
    last_heartbeat   INTEGER,
    open_commands    INTEGER NOT NULL DEFAULT 0,
    keyset_version   INTEGER NOT NULL DEFAULT 0,
    release_counter  INTEGER NOT NULL DEFAULT 0,
    firmware_version TEXT    NOT NULL DEFAULT '',
    next_line_no     INTEGER NOT NULL DEFAULT 1,
    rollout          INTEGER
) STRICT;

-- Devices whose key or status changed: what servers follow to refresh what they hold in memory.
CREATE TABLE device_changes (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    device INTEGER NOT NULL,
    at     INTEGER NOT NULL
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

CREATE TABLE firmware_history (
    id               INTEGER PRIMARY KEY,
    device           INTEGER NOT NULL REFERENCES devices (id),
    firmware_version TEXT    NOT NULL,
    release_counter  INTEGER NOT NULL,
    since            INTEGER NOT NULL
) STRICT;
CREATE INDEX firmware_history_device ON firmware_history (device, id);

-- One-time registration tokens; only their SHA-256 is known here. A use belongs to the key that made it, not to its device, so
-- that a device's next key gains nothing by it.
CREATE TABLE otrts (
    token_sha256    BLOB    PRIMARY KEY CHECK (length(token_sha256) = 32),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    bound_device_id TEXT,
    bound_model     TEXT,
    used_key        BLOB    REFERENCES device_keys (public_key),
    used_at         INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX otrts_expires ON otrts (expires_at);
CREATE INDEX otrts_bound ON otrts (bound_device_id) WHERE bound_device_id IS NOT NULL;

-- One order makes a command for each of its devices, in pieces. The same client_token asks for the same order. `next_after` says
-- where the next piece begins; none once the order is whole.
CREATE TABLE command_orders (
    id             INTEGER PRIMARY KEY,
    order_id       TEXT    NOT NULL UNIQUE,
    client_token   TEXT    UNIQUE,
    request_sha256 BLOB    NOT NULL,
    created_at     INTEGER NOT NULL,
    queued         INTEGER NOT NULL,
    refused        INTEGER NOT NULL,
    next_after     INTEGER
) STRICT;

-- What it takes to go on with an order of which a piece is missing: it stands here until the last one.
CREATE TABLE orders_under_way (
    order_row   INTEGER PRIMARY KEY REFERENCES command_orders (id),
    id_seed     BLOB    NOT NULL CHECK (length(id_seed) = 32),
    selector    TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    argument    TEXT    NOT NULL,
    is_urgent   INTEGER NOT NULL,
    deadline_at INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    address     TEXT    NOT NULL
) STRICT;

CREATE TABLE commands (
    id            INTEGER PRIMARY KEY,
    command_id    TEXT    NOT NULL UNIQUE,
    order_row     INTEGER NOT NULL REFERENCES command_orders (id),
    device        INTEGER NOT NULL REFERENCES devices (id),
    kind          TEXT    NOT NULL,
    argument      TEXT    NOT NULL,
    is_urgent     INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    deadline_at   INTEGER NOT NULL,
    delivered_at  INTEGER,
    finished_at   INTEGER,
    detail        TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX commands_open ON commands (device, is_urgent DESC, id)
    WHERE state IN ('QUEUED', 'DELIVERED', 'RECEIVED');
CREATE INDEX commands_due ON commands (deadline_at) WHERE state IN ('QUEUED', 'DELIVERED', 'RECEIVED');
CREATE INDEX commands_device ON commands (device, id);
CREATE INDEX commands_order ON commands (order_row, id);

CREATE TABLE device_logs (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES devices (id),
    received_at INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    level       INTEGER NOT NULL,
    message     TEXT    NOT NULL
) STRICT;
CREATE INDEX device_logs_device ON device_logs (device, id);

-- Punches, named by device and number: that is what makes each exactly one.
CREATE TABLE punches (
    device      INTEGER NOT NULL REFERENCES devices (id),
    punch_no    INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    badge       TEXT    NOT NULL,
    direction   TEXT    NOT NULL,
    method      TEXT    NOT NULL,
    PRIMARY KEY (device, punch_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX punches_at ON punches (at);

-- The server's keys, without their private halves, and every keyset that was published, as it was signed.
CREATE TABLE server_keys (
    key_id       TEXT    PRIMARY KEY,
    public_key   BLOB    NOT NULL CHECK (length(public_key) = 32),
    state        TEXT    NOT NULL CHECK (state IN ('ANNOUNCED', 'SIGNING', 'RETIRED', 'FIRMWARE', 'REMOVED')),
    announced_at INTEGER NOT NULL,
    signing_at   INTEGER,
    removed_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE keysets (
    version    INTEGER PRIMARY KEY,
    document   TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Limits that were applied while servers ran, as limits files. A version that a rollback made names the one it brought back.
CREATE TABLE limit_sets (
    version    INTEGER PRIMARY KEY,
    document   TEXT    NOT NULL,
    origin     TEXT    NOT NULL CHECK (origin IN ('file', 'order')),
    basis      INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Firmware: artifacts by their hash, with what is wrong with their bytes if something is, and releases, whose manifest never changes once it is signed.
CREATE TABLE artifacts (
    sha256     BLOB    PRIMARY KEY CHECK (length(sha256) = 32),
    size_bytes INTEGER NOT NULL,
    stored_at  INTEGER NOT NULL,
    fault      TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE releases (
    id              INTEGER PRIMARY KEY,
    release_id      TEXT    NOT NULL UNIQUE,
    product         TEXT    NOT NULL,
    version         TEXT    NOT NULL,
    release_counter INTEGER NOT NULL,
    sha256          BLOB    NOT NULL CHECK (length(sha256) = 32),
    manifest        TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('DRAFT', 'STAGED', 'ACTIVE', 'REVOKED')),
    created_at      INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL,
    reason          TEXT    NOT NULL DEFAULT '',
    UNIQUE (product, release_counter)
) STRICT;
CREATE INDEX releases_sha256 ON releases (sha256);

-- Rollouts: the policy as it was planned, with counts in place of shares, and the engine's state, both as JSON. Who is in it was settled
-- when it was made. A COMPLETED one stays open as long as its devices are watched, and gives them up to the next rollout.
CREATE TABLE rollouts (
    id         INTEGER PRIMARY KEY,
    rollout_id TEXT    NOT NULL UNIQUE,
    release    INTEGER NOT NULL REFERENCES releases (id),
    policy     TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    is_open    INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX rollouts_open ON rollouts (id) WHERE is_open = 1;
CREATE TABLE updates (
    rollout          INTEGER NOT NULL REFERENCES rollouts (id),
    device           INTEGER NOT NULL REFERENCES devices (id),
    is_open          INTEGER NOT NULL DEFAULT 1,
    stage            INTEGER NOT NULL,
    enters_bp        INTEGER NOT NULL,
    bucket           INTEGER NOT NULL,
    model            TEXT    NOT NULL,
    site             TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    boot_epoch       INTEGER NOT NULL DEFAULT 0,
    said_done        INTEGER NOT NULL DEFAULT 0,
    offered_at       INTEGER,
    progress_at      INTEGER NOT NULL DEFAULT 0,
    confirming_since INTEGER,
    ended_at         INTEGER,
    class            TEXT,
    detail           TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (rollout, device)
) STRICT, WITHOUT ROWID;
-- A device is never in two rollouts.
CREATE UNIQUE INDEX updates_open ON updates (device) WHERE is_open = 1;
CREATE INDEX updates_device ON updates (device);
-- How many updates of a rollout are in which state, by stage, model and site: its tally, which each evaluation reads. Counted as
-- they change, because an evaluation would otherwise read every device of the rollout.
CREATE TABLE update_counts (
    rollout INTEGER NOT NULL REFERENCES rollouts (id),
    stage   INTEGER NOT NULL,
    model   TEXT    NOT NULL,
    site    TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    count   INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (rollout, stage, model, site, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER updates_begun AFTER INSERT ON updates BEGIN
    INSERT INTO update_counts (rollout, stage, model, site, state, count)
    VALUES (NEW.rollout, NEW.stage, NEW.model, NEW.site, NEW.state, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER updates_moved AFTER UPDATE OF state ON updates WHEN NEW.state <> OLD.state BEGIN
    UPDATE update_counts SET count = count - 1
    WHERE rollout = OLD.rollout AND stage = OLD.stage AND model = OLD.model AND site = OLD.site AND state = OLD.state;
    INSERT INTO update_counts (rollout, stage, model, site, state, count)
    VALUES (NEW.rollout, NEW.stage, NEW.model, NEW.site, NEW.state, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE INDEX updates_turn ON updates (rollout, state, enters_bp, bucket);
-- Confirmed devices that another rollout has taken: of an open rollout they are few, and each evaluation after a bake counts them.
CREATE INDEX updates_taken ON updates (rollout) WHERE state = 'CONFIRMED' AND is_open = 0;
-- Why a rollout did what it did, with the numbers.
CREATE TABLE rollout_decisions (
    id      INTEGER PRIMARY KEY,
    rollout INTEGER NOT NULL REFERENCES rollouts (id),
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    what    TEXT    NOT NULL,
    stage   INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    ordered TEXT,
    why     TEXT    NOT NULL,
    silent  INTEGER NOT NULL,
    gates   TEXT    NOT NULL
) STRICT;
CREATE INDEX rollout_decisions_rollout ON rollout_decisions (rollout, id);
CREATE UNIQUE INDEX rollout_decisions_revision ON rollout_decisions (rollout, revision);

-- People who log in, and what they or scripts show instead of a password; only its SHA-256 is known here.
CREATE TABLE users (
    id            INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    role          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    version       INTEGER NOT NULL DEFAULT 1,
    created_at    INTEGER NOT NULL,
    disabled_at   INTEGER
) STRICT;
CREATE TABLE tokens (
    id           INTEGER PRIMARY KEY,
    token_sha256 BLOB    NOT NULL UNIQUE CHECK (length(token_sha256) = 32),
    kind         TEXT    NOT NULL CHECK (kind IN ('SESSION', 'BEARER')),
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    user         INTEGER REFERENCES users (id),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER
) STRICT;
CREATE INDEX tokens_user ON tokens (user);

-- When servers were alive, and when none was: silence in a gap is ours, not a device's. While the clock is behind what was known
-- before, `at` stays, and the other two say from when to when it was behind.
CREATE TABLE server_alive (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    at          INTEGER NOT NULL,
    behind_from INTEGER,
    behind_to   INTEGER
) STRICT;
CREATE TABLE observation_gaps (
    id      INTEGER PRIMARY KEY,
    from_at INTEGER NOT NULL,
    to_at   INTEGER NOT NULL
) STRICT;

-- Who did what to what, when, from where; appended in the transaction that does it. Each line's hash covers the one before
-- it, and audit_head the last, so that an edit, a deletion or another order shows.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    address TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    hash    BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TABLE audit_head (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    last INTEGER NOT NULL,
    hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
-- Number and hash of the last line that was pruned, after it was exported: the rest begins behind it. The newest `audit.prune`
-- says the same, so that a base that was moved shows.
CREATE TABLE audit_base (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    last INTEGER NOT NULL,
    hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
