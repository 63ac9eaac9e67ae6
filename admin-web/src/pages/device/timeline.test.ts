import { describe, expect, it } from "vitest";

import { timeline, withSilences } from "./timeline";

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

describe("a plot of heartbeats", () => {
  it("is broken where the device was silent", () => {
    const moments = withSilences([0, 60, 500], (at) => at, 60);
    expect(moments.map(({ at, beat }) => [at, beat])).toEqual([
      [0, 0],
      [60, 60],
      [120, null],
      [500, 500],
    ]);
  });
});
