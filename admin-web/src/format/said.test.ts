import { describe, expect, it } from "vitest";

import { split } from "./said";

describe("a sentence of the server", () => {
  it("is taken apart into words and times", () => {
    expect(split("the bake time, until 2026-12-01T03:45:11.202Z")).toEqual(["the bake time, until ", { at: "2026-12-01T03:45:11.202Z" }]);
    expect(split("2026-12-01T03:45:11Z to 2026-12-02T03:45:11Z.")).toEqual([
      { at: "2026-12-01T03:45:11Z" },
      " to ",
      { at: "2026-12-02T03:45:11Z" },
      ".",
    ]);
  });

  it("stays as it is without one", () => {
    expect(split("<b>2.0</b> to 24 devices")).toEqual(["<b>2.0</b> to 24 devices"]);
    expect(split("until 2026-13-41T99:99:99Z")).toEqual(["until ", "2026-13-41T99:99:99Z"]);
    expect(split("")).toEqual([]);
  });
});
