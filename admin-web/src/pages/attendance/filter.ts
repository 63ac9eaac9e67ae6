/** Which punches are shown: the filter as it stands in the address, the period that it means, and where its export is. */

import type { PunchFilter } from "../../api/queries";
import { dayAfter, dayBegins, isDay, isTimeZone } from "../../format/day";

export interface AttendanceSearch {
  readonly site?: string;
  readonly device_id?: string;
  /** Without it today. */
  readonly day?: string;
  /** Without it that of the machine. */
  readonly zone?: string;
}

/** The filter in an address that anybody may have written: what is no filter is left out. */
export function readAttendance(search: Record<string, unknown>): AttendanceSearch {
  const { site, device_id, day, zone } = search;
  return {
    ...(typeof site === "string" && site !== "" ? { site } : {}),
    ...(typeof device_id === "string" && device_id !== "" ? { device_id } : {}),
    ...(typeof day === "string" && isDay(day) ? { day } : {}),
    ...(typeof zone === "string" && isTimeZone(zone) ? { zone } : {}),
  };
}

/** The filter with another value in one field; an empty one takes the field away. */
export function changedAttendance(search: AttendanceSearch, field: keyof AttendanceSearch, value: string): AttendanceSearch {
  return readAttendance({ ...search, [field]: value });
}

/** The punches of a day in a time zone. */
export function punchesOf({ site, device_id }: AttendanceSearch, day: string, zone: string): PunchFilter {
  return {
    ...(site === undefined ? {} : { site }),
    ...(device_id === undefined ? {} : { device_id }),
    since: dayBegins(day, zone).toISOString(),
    until: dayBegins(dayAfter(day), zone).toISOString(),
  };
}

export const FORMATS = ["plain", "spreadsheet"] as const;
export type Format = (typeof FORMATS)[number];

/** The address of the file with the punches of a day. The server has the last word on what the day is. */
export function exportAddress(base: string, { site, device_id }: AttendanceSearch, day: string, zone: string, format: Format): string {
  const query = new URLSearchParams({ day, time_zone: zone });
  if (site !== undefined) query.set("site", site);
  if (device_id !== undefined) query.set("device_id", device_id);
  if (format === "spreadsheet") {
    query.set("separator", "semicolon");
    query.set("bom", "true");
  }
  return `${base}/api/attendance/export?${query.toString()}`;
}
