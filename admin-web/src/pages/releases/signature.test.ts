import { describe, expect, it } from "vitest";

import type { KeysStatus } from "../../api/types";
import { signerOf } from "./signature";

const keyset = (...keys: [string, string][]) =>
  ({ keys: keys.map(([key_id, status]) => ({ key_id, status })) }) as unknown as KeysStatus;

describe("who has signed a release", () => {
  it("is a key of the server as long as there is no firmware key", () => {
    expect(signerOf({ signed: true, key_id: "k1" }, keyset(["k1", "SIGNING"]))).toBe("server");
    expect(signerOf({ signed: true, key_id: "k1" }, keyset(["k1", "SIGNING"], ["kf", "FIRMWARE"]))).toBe("gone");
    expect(signerOf({ signed: true, key_id: "kf" }, keyset(["k1", "SIGNING"], ["kf", "FIRMWARE"]))).toBe("firmware");
  });

  it("counts no longer once the key is removed, and is not known before the keyset is", () => {
    expect(signerOf({ signed: true, key_id: "k0" }, keyset(["k0", "REMOVED"], ["k1", "SIGNING"]))).toBe("gone");
    expect(signerOf({ signed: true, key_id: "k9" }, keyset(["k1", "SIGNING"]))).toBe("gone");
    expect(signerOf({ signed: true, key_id: "k1" }, undefined)).toBeUndefined();
    expect(signerOf({ signed: false, key_id: "k1" }, keyset(["k1", "SIGNING"]))).toBe("willSign");
  });
});
