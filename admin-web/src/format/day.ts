/** Days of a time zone: which one a moment is in, and when it begins. */

const DAY_MS = 86_400_000;

/** The time zone of this machine. */
export function ownTimeZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Every time zone that the browser knows, UTC first. */
export function timeZones(): string[] {
  return ["UTC", ...Intl.supportedValuesOf("timeZone").filter((zone) => zone !== "UTC")];
}

/** Whether the browser knows a time zone of this name. */
export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }) !== null;
  } catch {
    return false;
  }
}

/** Whether it is a day of the calendar, such as 2026-11-24. */
export function isDay(text: string): boolean {
  const at = Date.parse(`${text}T00:00:00.000Z`);
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(at) && new Date(at).toISOString().startsWith(text);
}

/** What a clock in a time zone shows, as if it were UTC. */
function clock(atMs: number, zone: string): number {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(atMs);
  const part = (type: Intl.DateTimeFormatPartTypes) => Number(parts.find((part) => part.type === type)?.value);
  return Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
}

/** The day of a moment in a time zone. */
export function dayOf(at: Date, zone: string): string {
  return new Date(clock(at.getTime(), zone)).toISOString().slice(0, 10);
}

/** The day so many days after this one, or before it. */
export function dayAfter(day: string, days = 1): string {
  return new Date(Date.parse(`${day}T00:00:00.000Z`) + days * DAY_MS).toISOString().slice(0, 10);
}

/** When a day begins in a time zone, also where the clocks change at midnight: its first moment. */
export function dayBegins(day: string, zone: string): Date {
  const midnight = Date.parse(`${day}T00:00:00.000Z`);
  // The clock of the zone may be changed at this very midnight: it begins by the clock before or by the one after.
  const begins = [midnight - DAY_MS, midnight + DAY_MS]
    .map((at) => midnight - (clock(at, zone) - at))
    .filter((at) => dayOf(new Date(at), zone) === day);
  return new Date(begins.length > 0 ? Math.min(...begins) : midnight);
}
