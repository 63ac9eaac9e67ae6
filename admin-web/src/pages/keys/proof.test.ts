import { describe, expect, it } from "vitest";

import type { KeysStatus, ServerKey } from "../../api/types";
import type { Trusted } from "../../signed/trust";
import { proofOf } from "./proof";

const AT = "2026-11-30T12:00:00.000Z";
const key = (key_id: string, status: ServerKey["status"]): ServerKey => ({ key_id, status, announced_at: AT });

const status = (keys: ServerKey[], keyset_version = 2): KeysStatus => ({
  keyset_version,
  expires_at: AT,
  keys,
  active_devices: 0,
  confirmed_devices: 0,
  stranded_devices: 0,
  stranded_first: [],
  stranded_max_bp: 100,
  unknown_keyset_devices: [],
});

const trusted = {
  keyset: {
    version: 2,
    keys: [
      { keyId: "k1", state: "SIGNING", publicKey: "" },
      { keyId: "k2", state: "ANNOUNCED", publicKey: "" },
    ],
  },
} as unknown as Trusted;

describe("the keys that the API shows", () => {
  it("are proven if the verified keyset has the same ones, in the same states", () => {
    const shown = [key("k0", "REMOVED"), key("k2", "ANNOUNCED"), key("k1", "SIGNING")];
    expect(proofOf(status(shown), trusted)).toEqual({ state: "verified", keyId: "k1" });
  });

  it("are refuted if it has others", () => {
    const swapped = [key("k2", "SIGNING"), key("k1", "ANNOUNCED")];
    expect(proofOf(status(swapped), trusted)).toEqual({ state: "refuted", why: "other_content" });
    expect(proofOf(status([key("k1", "SIGNING")]), trusted)).toEqual({ state: "refuted", why: "other_content" });
  });

  it("are judged only at the same version, and not without a keyset", () => {
    expect(proofOf(status([], 3), trusted)).toBeUndefined();
    const open: Trusted = { verdict: { state: "open", why: "no_pinned_key" } };
    expect(proofOf(status([]), open)).toEqual({ state: "open", why: "no_pinned_key" });
  });
});
