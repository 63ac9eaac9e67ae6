import { describe, expect, it } from "vitest";

import { readQuery, writeQuery } from "../../app/address";
import { changed, faultOf, fromLocal, readAuditFilter, toLocal } from "./filter";

describe("the audit's filter in the address", () => {
  it("is read back as it was written, and nothing else with it", () => {
    const filter = { actor: "cli:ks (SUDO_UID=1000 anna)", action: "key.", since: "2026-11-30T23:00:00.000Z" };
    expect(readAuditFilter(readQuery(writeQuery(filter)))).toEqual(filter);
    expect(readAuditFilter({ since: "yesterday", until: "2026-13-30T23:00:00.000Z", cursor: "7", subject: 7 })).toEqual({});
    expect(changed(filter, "actor", "")).toEqual({ action: "key.", since: filter.since });
  });

  it("is not sent where the server would refuse it", () => {
    expect(faultOf({ action: "Device revoke" })).toBe("badAction");
    expect(faultOf({ since: "2026-11-30T23:00:00.000Z", until: "2026-11-30T22:00:00.000Z" })).toBe("badPeriod");
    expect(faultOf({ action: "device.revoke", since: "2026-11-30T23:00:00.000Z" })).toBeUndefined();
  });

  it("has times of the person's clock in its fields", () => {
    const utc = "2026-11-30T23:15:00.000Z";
    expect(fromLocal(toLocal(utc))).toBe(utc);
    expect([toLocal(undefined), fromLocal(""), fromLocal("x")]).toEqual(["", "", ""]);
  });
});
