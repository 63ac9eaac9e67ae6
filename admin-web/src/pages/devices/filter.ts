/** The filter of the device list as it stands in the address, and back. */

import type { DeviceFilter } from "../../api/queries";
import type { DeviceStatus, PresenceFilter } from "../../api/types";

export const PRESENCES: readonly PresenceFilter[] = ["ONLINE", "MISSING", "LATE", "OFFLINE", "LOST", "UNKNOWN", "NEVER"];
export const STATUSES: readonly DeviceStatus[] = ["WHITELISTED", "REGISTERED", "REVOKED"];

const TEXTS = ["search", "model", "site", "firmware_version", "label"] as const;

function among<T extends string>(known: readonly T[], given: unknown): T | undefined {
  return known.find((value) => value === given);
}

/** The filter in an address that anybody may have written: what is no filter is left out. */
export function readFilter(search: Record<string, unknown>): DeviceFilter {
  const filter: Record<string, string> = {};
  for (const field of TEXTS) {
    const text = search[field];
    if (typeof text === "string" && text !== "") filter[field] = text;
  }
  const status = among(STATUSES, search["status"]);
  if (status) filter["status"] = status;
  const presence = among(PRESENCES, search["presence"]);
  if (presence) filter["presence"] = presence;
  return filter;
}

/** The filter with another value in one field; an empty one takes the field away. */
export function changed(filter: DeviceFilter, field: keyof DeviceFilter, value: string): DeviceFilter {
  return readFilter({ ...filter, [field]: value });
}
