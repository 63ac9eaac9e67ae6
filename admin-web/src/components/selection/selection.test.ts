import { describe, expect, it } from "vitest";

import type { PresenceCounts, SelectedPresence } from "../../api/types";
import { readQuery, writeQuery } from "../../app/address";
import { hits, idsOf, readSelection, selectionOf, whichOf, wordOf } from "./selection";

const counts: PresenceCounts = { online: 3, unknown: 0, late: 1, offline: 0, lost: 0, never: 0, whitelisted: 2, revoked: 9 };
const selected: SelectedPresence = {
  at: "2026-11-30T12:00:00.000Z",
  total: counts,
  models: {},
  sites: {},
  not_selected: [],
  not_selected_count: 0,
};

describe("a selection", () => {
  it("survives the address, whatever is in it", () => {
    const search = { site: "Köln & Süd", label: "<b>", device_ids: "KS-1 KS-2" };
    expect(readSelection(readQuery(writeQuery(search)))).toEqual(search);
    expect(readSelection({ site: 7, all: "true", model: "" })).toEqual({});
  });

  it("is nobody until something is given, never everybody", () => {
    expect(whichOf(selectionOf({}))).toBeUndefined();
    expect(whichOf(selectionOf({ site: "  ", device_ids: " ,\n" }))).toBeUndefined();
  });

  it("has each id once, however they are separated", () => {
    expect(idsOf("KS-1, KS-2\nKS-1;KS-3\t")).toEqual(["KS-1", "KS-2", "KS-3"]);
    expect(whichOf(selectionOf({ site: " north ", device_ids: "KS-1" }))).toEqual({ all: false, site: "north", device_ids: ["KS-1"] });
  });

  it("hits those that are not revoked yet", () => {
    expect(hits(selected)).toBe(6);
  });

  it("is confirmed by its number, and one device by its name", () => {
    expect(wordOf(selectionOf({ site: "north" }), selected)).toBe("6");
    expect(wordOf(selectionOf({ device_ids: "KS-1" }), selected)).toBe("KS-1");
    expect(wordOf(selectionOf({ device_ids: "KS-1 KS-2" }), selected)).toBe("6");
  });
});
