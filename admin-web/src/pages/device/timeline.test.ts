import { describe, expect, it } from "vitest";

import { timeline } from "./timeline";

describe("the timeline of a device", () => {
  it("is one span while heartbeats come in time", () => {
    expect(timeline([0, 60, 150, 210], 250, 60)).toEqual([{ from: 0, to: 250, isHeard: true }]);
  });

  it("has a gap where they do not, also until now", () => {
    expect(timeline([500, 0, 60], 1_000, 60)).toEqual([
      { from: 0, to: 180, isHeard: true },
      { from: 180, to: 500, isHeard: false },
      { from: 500, to: 620, isHeard: true },
      { from: 620, to: 1_000, isHeard: false },
    ]);
  });

  it("is empty without heartbeats, and of no length with one that is from now", () => {
    expect(timeline([], 1_000, 60)).toEqual([]);
    expect(timeline([1_000], 1_000, 60)).toEqual([]);
  });
});
