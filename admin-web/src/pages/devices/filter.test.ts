import { describe, expect, it } from "vitest";

import { readQuery, writeQuery } from "../../app/address";
import { changed, readFilter } from "./filter";

describe("the filter in the address", () => {
  it("keeps what looks like a number, and texts of every kind", () => {
    const filter = { firmware_version: "1.30", site: "Köln & Süd", label: "<b>=+" };
    expect(readFilter(readQuery(writeQuery(filter)))).toEqual(filter);
  });

  it("leaves out what is no filter", () => {
    expect(readFilter({ status: "KING", presence: "LATE", model: "", other: "x", site: 7 })).toEqual({ presence: "LATE" });
  });

  it("loses a field that is emptied", () => {
    expect(changed({ site: "north", model: "KS-100" }, "site", "")).toEqual({ model: "KS-100" });
    expect(writeQuery({})).toBe("");
  });
});
