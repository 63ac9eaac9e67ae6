import { describe, expect, it } from "vitest";

import { maySee, pagesOf } from "./pages";

describe("a page", () => {
  it("is seen by the roles that can use it, also by its address", () => {
    for (const path of ["/users", "/audit", "/server-keys/compromised", "/provisioning"]) {
      expect([maySee("admin", path), maySee("operator", path), maySee("viewer", path)], path).toEqual([true, false, false]);
    }
    expect([maySee("release_manager", "/rollouts/plan"), maySee("operator", "/rollouts/plan")]).toEqual([true, false]);
    expect([maySee("operator", "/commands/new"), maySee("viewer", "/commands/new")]).toEqual([true, false]);
    expect([maySee("factory", "/provisioning"), maySee("factory", "/rollouts/$rolloutId")]).toEqual([true, false]);
  });

  it("about something of a list is seen by those who see the list, unless it says otherwise", () => {
    expect(["/devices/$deviceId", "/devices/$deviceId/investigate"].map((path) => maySee("factory", path))).toEqual([true, false]);
    expect(["/rollouts/$rolloutId", "/commands/orders/$orderId", "/server-keys"].map((path) => maySee("viewer", path))).toEqual([true, true, true]);
  });

  it("that there is not is nobody's secret", () => {
    expect([maySee("viewer", ""), maySee("viewer", "/"), maySee(null, "/fleet")]).toEqual([true, true, false]);
  });

  it("of the navigation is seen by those who have it there", () => {
    for (const role of ["viewer", "operator", "release_manager", "factory", "admin"] as const) {
      for (const { path } of pagesOf(role)) expect(maySee(role, path)).toBe(true);
    }
  });
});
