import { describe, expect, it } from "vitest";

import { readQuery, writeQuery } from "../../app/address";
import { changedAttendance, exportAddress, punchesOf, readAttendance } from "./filter";

describe("the filter of punches", () => {
  it("survives the address, and leaves out what is no day or no zone", () => {
    const search = { site: "Köln & Süd", day: "2026-11-24", zone: "Europe/Berlin" };
    expect(readAttendance(readQuery(writeQuery(search)))).toEqual(search);
    expect(readAttendance({ day: "24.11.2026", zone: "Mars/Base", site: "" })).toEqual({});
    expect(changedAttendance(search, "site", "")).toEqual({ day: "2026-11-24", zone: "Europe/Berlin" });
  });

  it("means the local day", () => {
    expect(punchesOf({ site: "north" }, "2026-10-25", "Europe/Berlin")).toEqual({
      site: "north",
      since: "2026-10-24T22:00:00.000Z",
      until: "2026-10-25T23:00:00.000Z",
    });
  });

  it("has its export, with every sign in its place", () => {
    expect(exportAddress("", { site: "a&b=c" }, "2026-11-24", "Europe/Berlin", "plain")).toBe(
      "/api/attendance/export?day=2026-11-24&time_zone=Europe%2FBerlin&site=a%26b%3Dc",
    );
    expect(exportAddress("https://ks.example.com", {}, "2026-11-24", "UTC", "spreadsheet")).toBe(
      "https://ks.example.com/api/attendance/export?day=2026-11-24&time_zone=UTC&separator=semicolon&bom=true",
    );
  });
});
