/** Times and durations as people of a language write them, in the time zone of their machine unless another is given. */

/** A moment as date and time, without the year if it is this one. */
export function moment(at: Date, now: Date, language: string, timeZone?: string): string {
  const year = at.getFullYear() === now.getFullYear() ? {} : ({ year: "numeric" } as const);
  const options = { ...year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" } as const;
  return new Intl.DateTimeFormat(language, { ...options, ...(timeZone === undefined ? {} : { timeZone }) }).format(at);
}

/** The same in UTC, in the form of the API. */
export function utc(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
] as const;

/** A duration in its one or two greatest units, such as "2 hr 5 min". */
export function duration(seconds: number, language: string): string {
  const parts: string[] = [];
  let rest = Math.max(0, Math.round(seconds));
  for (const [unit, length] of UNITS) {
    const amount = Math.floor(rest / length);
    rest -= amount * length;
    if (amount > 0 || (unit === "second" && parts.length === 0)) {
      parts.push(new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(amount));
    } else if (parts.length > 0) {
      break;
    }
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** How long ago, such as "3 min. ago". */
export function ago(at: Date, now: Date, language: string): string {
  const seconds = (at.getTime() - now.getTime()) / 1_000;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? (["second", 1] as const);
  return new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" }).format(Math.trunc(seconds / length), unit);
}

const DAY_S = 86_400;

/** Ticks of an axis of times, in seconds since 1970, as short as no two look the same: by the day, the minute or the second. */
export function clockLabels(ticks: readonly number[], language: string, timeZone?: string): string[] {
  const steps = ticks.slice(1).map((at, before) => at - (ticks[before] ?? at));
  const step = Math.min(...steps);
  const span = (ticks.at(-1) ?? 0) - (ticks[0] ?? 0);
  const day = { day: "numeric", month: "short" } as const;
  const minute = { hour: "2-digit", minute: "2-digit" } as const;
  const zone = timeZone === undefined ? {} : { timeZone };
  const format = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(language, { ...options, ...zone });
  const date = format(day);
  const dates = ticks.map((at) => date.format(at * 1_000));
  // A day of 23 hours is one as well.
  if (step >= DAY_S - 3_600) return dates;
  const clock = format(step < 60 ? { ...minute, second: "2-digit" } : minute);
  // Over midnight the first tick of each day says which day it is.
  const isDated = span >= DAY_S - 3_600 || dates[0] !== dates.at(-1);
  return ticks.map((at, place) => {
    const time = clock.format(at * 1_000);
    return isDated && dates[place] !== dates[place - 1] ? `${dates[place]}\n${time}` : time;
  });
}
