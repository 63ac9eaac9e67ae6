import { describe, expect, it } from "vitest";

import type { FleetPresence, KeysStatus, PresenceCounts, Rollout } from "../../api/types";
import { missing, registered } from "../../format/presence";
import { beatsPerMin, concerns, examples, places } from "./counts";

const none: PresenceCounts = { online: 0, unknown: 0, late: 0, offline: 0, lost: 0, never: 0, whitelisted: 0, revoked: 0 };

function fleet(sites: Record<string, Partial<PresenceCounts>>): FleetPresence {
  const full = Object.fromEntries(Object.entries(sites).map(([name, counts]) => [name, { ...none, ...counts }]));
  const total = { ...none };
  for (const counts of Object.values(full)) {
    for (const key of Object.keys(none) as (keyof PresenceCounts)[]) total[key] += counts[key];
  }
  return { at: "2026-11-30T12:00:00.000Z", total, models: {}, sites: full, firmware: {}, observation_gaps: [] };
}

const keys = (change: Partial<KeysStatus>): KeysStatus => ({
  keyset_version: 1,
  expires_at: "2027-11-30T12:00:00.000Z",
  keys: [],
  active_devices: 0,
  confirmed_devices: 0,
  stranded_devices: 0,
  stranded_first: [],
  stranded_max_bp: 100,
  unknown_keyset_devices: [],
  ...change,
});

const rollout = (change: Partial<Rollout>) => ({ rollout_id: "r-1", open: true, late_failures: 0, ...change }) as Rollout;

describe("counts", () => {
  it("take revoked and whitelisted devices for neither registered nor missing", () => {
    const counts = { ...none, online: 5, late: 1, offline: 2, lost: 3, never: 4, revoked: 50, whitelisted: 60 };
    expect(registered(counts)).toBe(15);
    expect(missing(counts)).toBe(6);
  });

  it("put the places with most missing devices first, then the largest", () => {
    const sites = { a: { ...none, online: 9 }, b: { ...none, online: 1, lost: 1 }, c: { ...none, online: 30 } };
    expect(places(sites).map((place) => place.name)).toEqual(["b", "c", "a"]);
  });
});

describe("what needs a person", () => {
  it("is nothing in a calm fleet", () => {
    const calm = rollout({ status: "RUNNING" });
    expect(concerns(fleet({ north: { online: 10 } }), [calm], keys({ stranded_devices: 3 }))).toEqual([]);
  });

  it("is a site rather than each of its devices", () => {
    const sites = { north: { offline: 6, online: 4 }, south: { online: 100, late: 2 }, tiny: { lost: 2 } };
    expect(concerns(fleet(sites), undefined, undefined)).toEqual([
      { kind: "site_down", site: "north", missing: 6, all: 10 },
      { kind: "missing", devices: 4 },
    ]);
  });

  it("is a rollout that waits, and devices that a key change would strand", () => {
    const changing = keys({
      stranded_devices: 3,
      keys: [{ key_id: "k1", status: "ANNOUNCED", announced_at: "2026-11-30T12:00:00.000Z", signing_at: null, removed_at: null }],
    });
    const found = concerns(fleet({}), [rollout({ status: "WAITING" }), rollout({ status: "COMPLETED", late_failures: 2 })], changing);
    expect(found.map((concern) => concern.kind)).toEqual(["waiting", "late_failures", "stranded"]);
  });
});

describe("where a person can begin", () => {
  const sites = fleet({ north: { offline: 6, online: 4 }, south: { online: 100, late: 2 } });
  const devices = [{ site: "north", id: 1 }, { site: "south", id: 2 }, { site: "north", id: 3 }, { site: "north", id: 4 }];

  it("is at devices of the site that is down", () => {
    expect(examples({ kind: "site_down", site: "north", missing: 6, all: 10 }, sites, devices, 2).map(({ id }) => id)).toEqual([1, 3]);
  });

  it("is elsewhere for those that are missing elsewhere", () => {
    expect(examples({ kind: "missing", devices: 2 }, sites, devices, 2).map(({ id }) => id)).toEqual([2]);
    expect(examples({ kind: "waiting", rollout: "r" }, sites, devices, 2)).toEqual([]);
  });
});

describe("heartbeats a minute", () => {
  it("are measured between two readings", () => {
    expect(beatsPerMin({ lastRow: 1_000, at: 0 }, { lastRow: 1_100, at: 6_000 })).toBe(1_000);
    expect(beatsPerMin(undefined, { lastRow: 1_100, at: 6_000 })).toBeUndefined();
    expect(beatsPerMin({ lastRow: 1, at: 5 }, { lastRow: 1, at: 5 })).toBeUndefined();
  });
});
