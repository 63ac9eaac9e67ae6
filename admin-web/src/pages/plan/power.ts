/** The chances that all gates together let a bug through, as curves. */

import type { Plan } from "../../api/types";

export interface PowerCurve {
  /** Shares of devices that the bug breaks, in percent, ascending. */
  readonly bugs: readonly number[];
  /** Chances in percent, for each of them. */
  readonly firstAtMost: readonly number[];
  readonly wholeAtMost: readonly number[];
  readonly wholeAtLeast: readonly number[];
}

/** Basis points of a percent. */
const BP = 100;

export function powerCurve(together: Plan["together"]): PowerCurve {
  const rows = together.filter(({ stages }) => stages.length > 0).sort((one, other) => one.bug_bp - other.bug_bp);
  const last = (row: (typeof rows)[number]) => row.stages.at(-1);
  return {
    bugs: rows.map((row) => row.bug_bp / BP),
    firstAtMost: rows.map((row) => (row.stages[0]?.at_most_bp ?? 0) / BP),
    wholeAtMost: rows.map((row) => (last(row)?.at_most_bp ?? 0) / BP),
    wholeAtLeast: rows.map((row) => (last(row)?.at_least_bp ?? 0) / BP),
  };
}
