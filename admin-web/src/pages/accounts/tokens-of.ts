/** Tokens and sessions: which of them are valid, and whose. */

import type { Token } from "../../api/types";

export type TokenState = "valid" | "expired" | "revoked";

export function stateOf(token: Token, now: Date): TokenState {
  if (token.revoked_at) return "revoked";
  return new Date(token.expires_at) <= now ? "expired" : "valid";
}

/** How many valid sessions and tokens end with this user. */
export function endingWith(user: string, tokens: readonly Token[], now: Date): { sessions: number; tokens: number } {
  const owned = tokens.filter((token) => token.user === user && stateOf(token, now) === "valid");
  const sessions = owned.filter((token) => token.kind === "SESSION").length;
  return { sessions, tokens: owned.length - sessions };
}
