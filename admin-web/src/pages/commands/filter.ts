/** The filter of the list of commands as it stands in the address, and back. */

import type { CommandFilter } from "../../api/queries";
import type { CommandState } from "../../api/types";

export const STATES: readonly CommandState[] = [
  "QUEUED",
  "DELIVERED",
  "RECEIVED",
  "SUCCEEDED",
  "FAILED",
  "REJECTED",
  "TIMED_OUT",
  "CANCELED",
];

/** States of commands that have not ended. */
export const OPEN_STATES: readonly CommandState[] = ["QUEUED", "DELIVERED", "RECEIVED"];

/** The filter in an address that anybody may have written: what is no filter is left out. */
export function readCommandFilter(search: Record<string, unknown>): CommandFilter {
  const { order_id, device_id, state, open } = search;
  const known = STATES.find((one) => one === state);
  return {
    ...(typeof order_id === "string" && order_id !== "" ? { order_id } : {}),
    ...(typeof device_id === "string" && device_id !== "" ? { device_id } : {}),
    ...(known === undefined ? {} : { state: known }),
    ...(open === true || open === "true" ? { open: true } : {}),
  };
}

/** The filter with another value in one field; an empty one takes the field away. */
export function changedFilter(filter: CommandFilter, field: keyof CommandFilter, value: string): CommandFilter {
  return readCommandFilter({ ...filter, [field]: value });
}
