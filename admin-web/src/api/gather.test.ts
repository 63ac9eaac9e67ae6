import { describe, expect, it } from "vitest";

import { gather } from "./gather";

/** Pages of a list, of which each names the next one. */
const list = (pages: number[][]) => async ({ cursor = "0" }: { cursor?: string }) => {
  const next = Number(cursor) + 1;
  return { items: pages[Number(cursor)] ?? [], next_cursor: next < pages.length ? String(next) : null };
};

describe("rows that are gathered", () => {
  it("are those of the first page if these are enough", async () => {
    expect(await gather(list([[1, 2], [3]]), { rows: 2, pages: 10 })).toEqual({ rows: [1, 2], pages: 1 });
  });

  it("are found behind empty pages, as far as is agreed", async () => {
    expect(await gather(list([[], [], [7], [8]]), { rows: 1, pages: 10 })).toEqual({ rows: [7], pages: 3 });
    expect(await gather(list([[], [], [7]]), { rows: 1, pages: 2 })).toEqual({ rows: [], pages: 2 });
    expect(await gather(list([[]]), { rows: 1, pages: 2 })).toEqual({ rows: [], pages: 1 });
  });
});
