import { describe, expect, it } from "vitest";

import type { KeysStatus, ServerKey } from "../../api/types";
import { rotationOf, strandedMax, verdictOf } from "./rotation";

const status = (keys: ServerKey["status"][], active = 0, stranded = 0): KeysStatus => ({
  keyset_version: 1,
  expires_at: "2027-11-30T12:00:00.000Z",
  keys: keys.map((status, number) => ({ key_id: `k${number}`, status, announced_at: "2026-11-30T12:00:00.000Z" })),
  active_devices: active,
  confirmed_devices: active - stranded,
  stranded_devices: stranded,
  stranded_first: [],
  stranded_max_bp: 100,
  unknown_keyset_devices: [],
});

describe("a rotation", () => {
  it("goes on with what is left of the last one", () => {
    expect(rotationOf(status(["SIGNING"])).next).toBe("announce");
    expect(rotationOf(status(["REMOVED", "SIGNING", "FIRMWARE", "ANNOUNCED"])).next).toBe("activate");
    expect(rotationOf(status(["RETIRED", "SIGNING"])).next).toBe("retire");
    expect(rotationOf(status(["RETIRED", "SIGNING", "ANNOUNCED"])).next).toBe("retire");
  });

  it("waits exactly as long as the server refuses", () => {
    expect(verdictOf(status([], 1_000, 10))).toBe("few");
    expect(verdictOf(status([], 1_000, 11))).toBe("wait");
    expect(verdictOf(status([], 99, 1))).toBe("wait");
    expect(verdictOf(status([], 99, 0))).toBe("ready");
    expect(verdictOf(status([], 0, 0))).toBe("nobody");
    expect([strandedMax(status([], 1_099)), strandedMax(status([], 99))]).toEqual([10, 0]);
  });
});
