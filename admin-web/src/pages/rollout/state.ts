/** The filter of a rollout's devices, as it stands in the address. */

import type { UpdateState } from "../../api/types";
import { STATES } from "./counts";

export function readState(search: Record<string, unknown>): { state?: UpdateState } {
  const state = STATES.find((state) => state === search["state"]);
  return state === undefined ? {} : { state };
}
