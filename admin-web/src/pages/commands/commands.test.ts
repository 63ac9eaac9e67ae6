import { describe, expect, it } from "vitest";

import { readQuery, writeQuery } from "../../app/address";
import { changedFilter, OPEN_STATES, readCommandFilter, STATES } from "./filter";
import { commandOf, NO_COMMAND } from "./typed-command";

describe("the filter of commands in the address", () => {
  it("survives it, and leaves out what is no filter", () => {
    const filter = { device_id: "KS-1", state: "TIMED_OUT", open: true } as const;
    expect(readCommandFilter(readQuery(writeQuery(filter)))).toEqual(filter);
    expect(readCommandFilter({ state: "DONE", open: "yes", order_id: "", other: "x" })).toEqual({});
  });

  it("loses a field that is emptied", () => {
    expect(changedFilter({ device_id: "KS-1", open: true }, "open", "")).toEqual({ device_id: "KS-1" });
    expect(changedFilter({}, "open", "true")).toEqual({ open: true });
  });

  it("knows every state, the open ones first", () => {
    expect(STATES.slice(0, 3)).toEqual(OPEN_STATES);
    expect(new Set(STATES).size).toBe(8);
  });
});

describe("a typed command", () => {
  it("is what the API takes for it", () => {
    expect(commandOf(NO_COMMAND)).toEqual({ kind: "fetch_logs", argument: { level: "info", lines_max: 200 } });
    expect(commandOf({ ...NO_COMMAND, linesMax: "" })).toEqual({ kind: "fetch_logs", argument: { level: "info" } });
    expect(commandOf({ ...NO_COMMAND, kind: "reboot" })).toEqual({ kind: "reboot" });
    expect(commandOf({ ...NO_COMMAND, kind: "halt_updates" })).toEqual({ kind: "halt_updates", argument: {} });
    const setting = { ...NO_COMMAND, kind: "set_config", name: " volume ", value: " 3" } as const;
    expect(commandOf(setting)).toEqual({ kind: "set_config", argument: { name: "volume", value: " 3" } });
  });

  it("is none while something is missing or no number", () => {
    expect(commandOf({ ...NO_COMMAND, linesMax: "many" })).toBeUndefined();
    expect(commandOf({ ...NO_COMMAND, linesMax: "0" })).toBeUndefined();
    expect(commandOf({ ...NO_COMMAND, kind: "set_config" })).toBeUndefined();
    expect(commandOf({ ...NO_COMMAND, kind: "add_key", keysetVersion: "2.5" })).toBeUndefined();
    expect(commandOf({ ...NO_COMMAND, kind: "custom", customKind: "Beep!" })).toBeUndefined();
  });
});
