import { describe, expect, it } from "vitest";

import { dayAfter, dayBegins, dayOf, isDay, isTimeZone, timeZones } from "./day";

const begins = (day: string, zone: string) => dayBegins(day, zone).toISOString();
const hours = (day: string, zone: string) =>
  (dayBegins(dayAfter(day), zone).getTime() - dayBegins(day, zone).getTime()) / 3_600_000;

describe("days of a time zone", () => {
  it("begin at local midnight", () => {
    expect(begins("2026-11-24", "UTC")).toBe("2026-11-24T00:00:00.000Z");
    expect(begins("2026-11-24", "Europe/Berlin")).toBe("2026-11-23T23:00:00.000Z");
    expect(begins("2026-11-24", "Asia/Kolkata")).toBe("2026-11-23T18:30:00.000Z");
  });

  it("have 23 or 25 hours where the clocks change, as the server's export has them", () => {
    expect([begins("2026-03-29", "Europe/Berlin"), hours("2026-03-29", "Europe/Berlin")]).toEqual(["2026-03-28T23:00:00.000Z", 23]);
    expect([begins("2026-10-25", "Europe/Berlin"), hours("2026-10-25", "Europe/Berlin")]).toEqual(["2026-10-24T22:00:00.000Z", 25]);
    expect(begins("2026-10-26", "Europe/Berlin")).toBe("2026-10-25T23:00:00.000Z");
  });

  it("begin later where the clock skips midnight, and once where it strikes twice", () => {
    expect([begins("2022-09-11", "America/Santiago"), hours("2022-09-11", "America/Santiago")]).toEqual(["2022-09-11T04:00:00.000Z", 23]);
    expect(begins("2022-04-03", "America/Santiago")).toBe("2022-04-03T04:00:00.000Z");
  });

  it("are those of the zone, whatever the machine's is", () => {
    expect(dayOf(new Date("2026-11-24T23:30:00.000Z"), "Europe/Berlin")).toBe("2026-11-25");
    expect(dayOf(new Date("2026-11-24T00:30:00.000Z"), "America/New_York")).toBe("2026-11-23");
    expect([dayAfter("2026-12-31"), dayAfter("2024-03-01", -1)]).toEqual(["2027-01-01", "2024-02-29"]);
  });

  it("are not made of what is no day or no zone", () => {
    expect([isDay("2026-02-28"), isDay("2026-02-30"), isDay("26-02-01"), isDay("x")]).toEqual([true, false, false, false]);
    expect([isTimeZone("Europe/Berlin"), isTimeZone("Europe/Berln"), isTimeZone("")]).toEqual([true, false, false]);
    expect(timeZones().filter((zone) => zone === "UTC")).toHaveLength(1);
  });
});
