/** What came of verifying a signed record in the browser. */

/** Why a record is not what it should be: somebody has to look at it. */
export type Refutation =
  | "not_signed"
  | "malformed"
  | "unknown_key"
  | "bad_signature"
  | "other_content"
  | "expired"
  | "no_chain";

/** Why nothing can be said here. */
export type Obstacle = "no_pinned_key" | "bad_pinned_key" | "no_ed25519" | "unreachable" | "too_long";

export type Verdict =
  | { readonly state: "verified"; readonly keyId: string }
  | { readonly state: "refuted"; readonly why: Refutation }
  | { readonly state: "open"; readonly why: Obstacle };

export const refuted = (why: Refutation): Verdict => ({ state: "refuted", why });
export const open = (why: Obstacle): Verdict => ({ state: "open", why });
