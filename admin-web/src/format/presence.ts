/** What counts by presence mean together. */

import type { PresenceCounts } from "../api/types";

/** Registered devices. */
export function registered(counts: PresenceCounts): number {
  return counts.online + counts.unknown + counts.late + counts.offline + counts.lost + counts.never;
}

/** Devices that are silent for more than two heartbeat intervals. */
export function missing(counts: PresenceCounts): number {
  return counts.late + counts.offline + counts.lost;
}
