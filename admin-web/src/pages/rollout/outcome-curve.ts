/** Outcomes over time, from when each device had its own. */

import type { DeviceUpdate } from "../../api/types";
import { isFailure } from "./counts";

export interface OutcomeCurve {
  /** Seconds since 1970, ascending. */
  readonly times: number[];
  readonly confirmed: number[];
  readonly failed: number[];
}

/** How many devices had been confirmed and had failed by each moment at which that changed; level from the last one until `now`. */
export function outcomeCurve(
  updates: readonly Pick<DeviceUpdate, "state" | "ended_at">[],
  beganMs: number,
  nowMs: number,
): OutcomeCurve {
  const ended = updates
    .flatMap(({ state, ended_at }) => (ended_at ? [{ state, at: Date.parse(ended_at) / 1_000 }] : []))
    .filter(({ state }) => state === "CONFIRMED" || isFailure(state))
    .sort((one, other) => one.at - other.at);
  const curve: OutcomeCurve = { times: [beganMs / 1_000], confirmed: [0], failed: [0] };
  let [confirmed, failed] = [0, 0];
  for (const { state, at } of ended) {
    if (state === "CONFIRMED") confirmed += 1;
    else failed += 1;
    const isSame = curve.times.at(-1) === at;
    if (isSame) curve.times.pop();
    if (isSame) curve.confirmed.pop();
    if (isSame) curve.failed.pop();
    curve.times.push(at);
    curve.confirmed.push(confirmed);
    curve.failed.push(failed);
  }
  const now = nowMs / 1_000;
  if (now > (curve.times.at(-1) ?? now)) {
    curve.times.push(now);
    curve.confirmed.push(confirmed);
    curve.failed.push(failed);
  }
  return curve;
}
