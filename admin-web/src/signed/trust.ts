/** The keyset that a pinned key leads to, or why there is none. */

import { isAvailable, keyIdOf } from "./ed25519";
import { follow, type Keyset } from "./keyset";
import { open, refuted, type Verdict } from "./verdict";

/** A verified keyset, or why there is none. */
export type Trusted = { readonly keyset: Keyset } | { readonly verdict: Verdict };

/** Follows the chain of keysets from a pinned key to the newest. */
export async function trusted(pinned: string, ask: (version?: number) => Promise<string>, now: number): Promise<Trusted> {
  if (pinned === "") return { verdict: open("no_pinned_key") };
  if (!(await isAvailable())) return { verdict: open("no_ed25519") };
  if ((await keyIdOf(pinned)) === undefined) return { verdict: open("bad_pinned_key") };
  try {
    const followed = await follow(pinned, ask, now);
    if ("keyset" in followed) return followed;
    return { verdict: followed.why === "too_long" ? open("too_long") : refuted(followed.why) };
  } catch {
    return { verdict: open("unreachable") };
  }
}
