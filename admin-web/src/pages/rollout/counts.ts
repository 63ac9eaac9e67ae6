/** What the states of a rollout's updates add up to. */

import type { Outcome, UpdateState } from "../../api/types";

/** Outcomes that count as failures, unless a gate says otherwise. */
export const FAILURES: readonly Exclude<Outcome, "CONFIRMED">[] = ["FAILED", "REJECTED", "TIMED_OUT", "LOST", "ROLLED_BACK", "FALSE_SUCCESS"];
const IN_FLIGHT: readonly UpdateState[] = ["OFFERED", "DOWNLOADING", "INSTALLING", "CONFIRMING"];

/** Every state, in the order in which a device passes them. */
export const STATES: readonly UpdateState[] = ["PENDING", ...IN_FLIGHT, "CONFIRMED", ...FAILURES, "HALTED", "WITHDRAWN"];

export interface UpdateCounts {
  readonly notYet: number;
  readonly inFlight: number;
  readonly confirmed: number;
  readonly failed: number;
  /** Halted or withdrawn: neither a success nor a failure. */
  readonly leftOut: number;
  readonly all: number;
}

export function counts(updates: Readonly<Record<string, number>>): UpdateCounts {
  const sum = (states: readonly UpdateState[]) => states.reduce((all, state) => all + (updates[state] ?? 0), 0);
  return {
    notYet: sum(["PENDING"]),
    inFlight: sum(IN_FLIGHT),
    confirmed: sum(["CONFIRMED"]),
    failed: sum(FAILURES),
    leftOut: sum(["HALTED", "WITHDRAWN"]),
    all: sum(STATES),
  };
}

export function isFailure(state: UpdateState): boolean {
  return FAILURES.some((failure) => failure === state);
}
