import { describe, expect, it } from "vitest";

import type { Command, Investigation, PresenceCounts } from "../../api/types";
import { en } from "../../texts/en";
import { escalationNote, isFirmwareNew, lateMs, siteVerdict, waitingForLogs } from "./facts";
import { readInvestigate } from "./search";

const none: PresenceCounts = { online: 0, unknown: 0, late: 0, offline: 0, lost: 0, never: 0, whitelisted: 0, revoked: 0 };

const about: Investigation = {
  at: "2026-11-30T12:00:00.000Z",
  device: {
    device_id: "KS-1",
    public_key: "",
    serial: "S-1\nforged: line",
    manufacturer: "Acme",
    model: "KS-100",
    site: "north",
    labels: ["<b>door</b>"],
    status: "REGISTERED",
    version: 1,
    boot_epoch: 1,
    seq: 2,
    last_seen_at: "2026-11-30T11:00:00.000Z",
    firmware_version: "1.4",
    release_counter: 2,
    keyset_version: 1,
  },
  presence: "OFFLINE",
  silence_s: 3_600,
  expected_at: "2026-11-30T11:01:00.000Z",
  last_heartbeat: {
    received_at: "2026-11-30T11:00:00.000Z",
    sent_at: "2026-11-30T11:00:00.000Z",
    clock_ahead_ms: 0,
    uptime_s: 60,
    cpu_temp_c: 41.5,
    free_mem_kib: 1_000,
    network: "wifi",
    rssi_dbm: -70,
    firmware_version: "1.4",
  },
  site_offline: 1,
  site_devices: 4,
  pending_commands: [],
  recent_logs: [
    { device_id: "KS-1", at: "2026-11-30T10:59:00.000Z", received_at: "2026-11-30T11:00:00.000Z", level: "error", message: "reader\nis gone" },
  ],
  firmware_history: [
    { firmware_version: "1.4", release_counter: 2, since: "2026-11-29T11:00:00.000Z" },
    { firmware_version: "1.3", release_counter: 1, since: "2026-01-01T11:00:00.000Z" },
  ],
  newest_keyset: 2,
  failed_updates: 0,
  findings: ["it has not confirmed keyset 2: it holds keyset 1"],
};

const command = (kind: string, command_id: string) => ({ kind, command_id }) as Command;

describe("the facts about a silent device", () => {
  it("say how late it is, if it is", () => {
    expect(lateMs(about)).toBe(59 * 60_000);
    expect(lateMs({ ...about, at: "2026-11-30T11:00:30.000Z" })).toBeUndefined();
    expect(lateMs({ at: about.at, expected_at: null })).toBeUndefined();
  });

  it("blame the site only if most of it is silent", () => {
    expect(siteVerdict({ ...none, late: 2, online: 1 })).toBe("site");
    expect(siteVerdict({ ...none, late: 1 })).toBe("only");
    expect(siteVerdict({ ...none, late: 1, online: 1 })).toBe("alone");
    expect(siteVerdict({ ...none, offline: 2, online: 2 })).toBe("some");
    expect(siteVerdict({ ...none, lost: 1, online: 9 })).toBe("alone");
  });

  it("point at firmware that is new", () => {
    expect(isFirmwareNew(about)).toBe(true);
    expect(isFirmwareNew({ ...about, presence: "ONLINE" })).toBe(false);
    expect(isFirmwareNew({ ...about, firmware_history: about.firmware_history.slice(0, 1) })).toBe(false);
    expect(isFirmwareNew({ ...about, firmware_history: about.firmware_history.slice(1) })).toBe(false);
  });

  it("have the last order of log lines that waits", () => {
    const pending = [command("fetch_logs", "c1"), command("fetch_logs", "c2"), command("reboot", "c3")];
    expect(waitingForLogs({ ...about, pending_commands: pending })?.command_id).toBe("c2");
    expect(waitingForLogs(about)).toBeUndefined();
  });

  it("are in the note, each in one line whatever a device has written", () => {
    const note = escalationNote(about, { ...none, online: 3, offline: 1 }, en, "en-GB").split("\n");
    expect(note[0]).toBe("KS-1: registered, offline");
    expect(note).toContain("Serial number: S-1 forged: line");
    expect(note).toContain("Labels: <b>door</b>");
    expect(note).toContain("Last seen: 2026-11-30 11:00:00 UTC");
    expect(note).toContain("Missing at its site: 1 of 4");
    expect(note).toContain("Network: wifi, -70 dBm");
    expect(note).toContain("- it has not confirmed keyset 2: it holds keyset 1");
    expect(note).toContain("- 2026-11-30 10:59:00 UTC error reader is gone");
    expect(note.at(-1)).toBe("as of 2026-11-30 12:00:00 UTC");
  });
});

describe("the order in the address", () => {
  it("is a name or nothing", () => {
    expect(readInvestigate({ order: "oa22f" })).toEqual({ order: "oa22f" });
    expect(readInvestigate({ order: "../x" })).toEqual({});
    expect(readInvestigate({})).toEqual({});
  });
});
