-- Each heartbeat names the one before it of its device, so that a device's history is read without an index. None where there was
-- no heartbeat before, or where the row is from before this migration.
ALTER TABLE device_heartbeats ADD COLUMN previous INTEGER;
