/** What a new rollout begins with, as it stands in the address. */

import { type Preset, PRESET_NAMES } from "./draft";

export interface NewRolloutSearch {
  readonly release?: string;
  readonly policy?: Preset;
  /** Devices that run this version. */
  readonly firmware?: string;
}

export function readNewRollout(search: Record<string, unknown>): NewRolloutSearch {
  const { release, firmware } = search;
  const policy = PRESET_NAMES.find((name) => name === search["policy"]);
  return {
    ...(typeof release === "string" && release !== "" ? { release } : {}),
    ...(typeof firmware === "string" && firmware !== "" ? { firmware } : {}),
    ...(policy ? { policy } : {}),
  };
}
