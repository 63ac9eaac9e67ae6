import { describe, expect, it } from "vitest";

import type { Token } from "../../api/types";
import { endingWith, stateOf } from "./tokens-of";

const NOW = new Date("2026-11-30T12:00:00.000Z");
const token = (change: Partial<Token>): Token => ({
  row: 1,
  kind: "BEARER",
  name: "ci",
  role: "viewer",
  user: "anna",
  created_at: "2026-11-01T12:00:00.000Z",
  expires_at: "2026-12-30T12:00:00.000Z",
  ...change,
});

describe("tokens", () => {
  it("are valid until they expire or are revoked", () => {
    expect(stateOf(token({}), NOW)).toBe("valid");
    expect(stateOf(token({ expires_at: "2026-11-30T12:00:00.000Z" }), NOW)).toBe("expired");
    expect(stateOf(token({ revoked_at: "2026-11-30T11:00:00.000Z" }), NOW)).toBe("revoked");
  });

  it("end with the user who made them", () => {
    const all = [
      token({}),
      token({ kind: "SESSION", name: "anna" }),
      token({ user: "ben" }),
      token({ user: null }),
      token({ revoked_at: "2026-11-30T11:00:00.000Z" }),
    ];
    expect(endingWith("anna", all, NOW)).toEqual({ sessions: 1, tokens: 1 });
  });
});
