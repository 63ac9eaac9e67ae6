/** Where a rotation of the server's key stands, and what its next step would cost. */

import type { KeysStatus, ServerKey } from "../../api/types";

export type Step = "announce" | "activate" | "retire";
export const STEPS: readonly Step[] = ["announce", "activate", "retire"];

export interface Rotation {
  readonly next: Step;
  readonly signing: ServerKey | undefined;
  readonly announced: ServerKey | undefined;
  /** The keys that a retirement removes. */
  readonly retired: readonly ServerKey[];
}

export function rotationOf({ keys }: KeysStatus): Rotation {
  const inState = (status: ServerKey["status"]) => keys.filter((key) => key.status === status);
  const [announced] = inState("ANNOUNCED");
  const [signing] = inState("SIGNING");
  const retired = inState("RETIRED");
  // An old key that devices still trust goes first: an announced one may wait for years, kept for an emergency.
  const next = retired.length > 0 ? "retire" : announced ? "activate" : "announce";
  return { next, signing, announced, retired };
}

/** What the server says to an activation or a retirement now, by how many devices it would strand. */
export type Verdict = "ready" | "few" | "wait" | "nobody";

export function verdictOf({ active_devices, stranded_devices, stranded_max_bp }: KeysStatus): Verdict {
  if (active_devices === 0) return "nobody";
  if (stranded_devices === 0) return "ready";
  return stranded_devices * 10_000 > stranded_max_bp * active_devices ? "wait" : "few";
}

/** The most devices that may be stranded without force. */
export function strandedMax({ active_devices, stranded_max_bp }: KeysStatus): number {
  return Math.floor((stranded_max_bp * active_devices) / 10_000);
}
