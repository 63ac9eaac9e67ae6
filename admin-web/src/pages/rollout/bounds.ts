/** A gate's statistic against its bounds, as places on a scale. */

import type { GateReading } from "../../api/types";

/** Millionths of a basis point's unit: 1 bp is 100 ppm. */
const PPM_OF_BP = 100;

export interface Bounds {
  /** The end of the scale, in ppm. */
  readonly end: number;
  readonly lower: number;
  readonly upper: number;
  readonly share: number;
  readonly threshold: number;
}

type Reading = Pick<GateReading, "share_ppm" | "lower_ppm" | "upper_ppm" | "threshold_bp">;

/** The scale shows the threshold in its first half, unless the share is beyond that; each value is a part of it, from 0 to 1. */
export function bounds({ share_ppm, lower_ppm, upper_ppm, threshold_bp }: Reading): Bounds {
  const threshold = threshold_bp * PPM_OF_BP;
  const end = Math.min(1_000_000, Math.max(2 * threshold, 1.1 * share_ppm, 10_000));
  const at = (ppm: number) => Math.min(1, ppm / end);
  return { end, lower: at(lower_ppm), upper: at(upper_ppm), share: at(share_ppm), threshold: at(threshold) };
}
