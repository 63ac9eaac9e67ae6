import { describe, expect, it } from "vitest";

import { quantity, share } from "./number";
import { ago, clockLabels, duration, moment, utc } from "./time";

describe("durations", () => {
  it("have their two greatest units, without gaps", () => {
    expect(duration(0, "en")).toBe("0 sec");
    expect(duration(59.6, "en")).toBe("1 min");
    expect(duration(7_505, "en")).toBe("2 hr 5 min");
    expect(duration(86_400 + 59, "en")).toBe("1 day");
  });

  it("are written in the language", () => {
    expect(duration(7_505, "de")).toBe("2 Std. 5 Min.");
  });
});

describe("times", () => {
  const now = new Date("2026-11-30T12:00:00.000Z");

  it("are said relative to now in their greatest unit", () => {
    expect(ago(new Date("2026-11-30T11:57:10.000Z"), now, "en")).toBe("2 min. ago");
    expect(ago(new Date("2026-11-30T12:00:05.000Z"), now, "en")).toBe("in 5 sec.");
  });

  it("name the year only if it is another", () => {
    expect(moment(new Date("2025-11-30T11:57:10.000Z"), now, "en")).toContain("2025");
    expect(moment(new Date("2026-11-20T11:57:10.000Z"), now, "en")).not.toContain("2026");
  });

  it("are exact in UTC", () => {
    expect(utc(now)).toBe("2026-11-30 12:00:00 UTC");
  });
});

describe("ticks of an axis", () => {
  const HOUR = 3_600;
  const ticks = (from: string, ...after: number[]) => after.map((seconds) => Date.parse(from) / 1_000 + seconds);
  const labels = (at: number[]) => clockLabels(at, "en-GB", "UTC");

  it("are as short as no two look the same", () => {
    expect(labels(ticks("2026-12-01T03:43:00Z", 0, 15, 30))).toEqual(["03:43:00", "03:43:15", "03:43:30"]);
    expect(labels(ticks("2026-12-01T03:43:00Z", 0, 60, 120))).toEqual(["03:43", "03:44", "03:45"]);
    expect(labels(ticks("2026-12-01T00:00:00Z", 0, 24 * HOUR, 48 * HOUR))).toEqual(["1 Dec", "2 Dec", "3 Dec"]);
  });

  it("say which day it is where there is more than one", () => {
    expect(labels(ticks("2026-12-01T12:00:00Z", 0, 12 * HOUR, 24 * HOUR))).toEqual(["1 Dec\n12:00", "2 Dec\n00:00", "12:00"]);
    expect(labels([])).toEqual([]);
  });
});

describe("numbers", () => {
  it("of nothing have no share", () => {
    expect(share(0, 0, "en")).toBe("–");
    expect(share(1, 8, "de")).toBe("12,5\u00a0%");
  });

  it("carry their unit", () => {
    expect(quantity(63.46, "°C", "en", 1)).toBe("63.5 °C");
  });
});
