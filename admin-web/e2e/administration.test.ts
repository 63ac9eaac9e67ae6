/**
 * Goal: an admin changes limits, users, tokens and sessions, and reads the audit, without overwriting anybody, losing what was typed or
 * working in a tab that is out of date.
 * Method: a second admin by the API; a script with the token that the page shows; sessions that are ended while a form is open.
 */

import { readFileSync } from "node:fs";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { LimitsStatus, Token, User } from "../src/api/types";
import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { TestDevice } from "./support/device";
import { PASSWORD, Server } from "./support/server";

let server: Server;
let browser: Browser;
let tab: Tab;

const limitsNow = () => server.call<LimitsStatus>("GET", "/limits");
const listed = async <T>(path: string) => (await server.call<{ items: T[] }>("GET", `${path}?limit=1000`)).items;
const user = async (name: string) => (await listed<User>("/users")).find((user) => user.name === name);

async function apply(toml: string): Promise<void> {
  const { version } = await limitsNow();
  await server.send("PUT", "/limits", toml, { "content-type": "application/toml", "if-match": `"${version}"` });
}

async function endSessions(name: string): Promise<void> {
  for (const { row, kind, name: owner } of await listed<Token>("/tokens")) {
    if (kind === "SESSION" && owner === name) await server.call("DELETE", `/tokens/${row}`, {});
  }
}

/** Beats without a pause; what the server says when it has had enough. */
async function beatUntilRefused(device: TestDevice): Promise<string> {
  for (let beats = 0; beats < 200; beats += 1) {
    try {
      await device.beats({ keysetVersion: 1 });
    } catch (error) {
      return String(error);
    }
  }
  return "never refused";
}

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("olga", "admin");
  await server.makeUser("otto", "operator");
  browser = await launch();
  tab = await open(browser);
  await logIn(tab, server, "olga", "/limits");
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

it("shows each limit, what it allows, of what, and which never refused", async () => {
  const { page } = tab;
  const row = page.getByRole("row", { name: /^device_requests / });
  await row.getByText("120 requests a minute, 30 at once").waitFor();
  await row.getByText("enforced").waitFor();
  await page.getByRole("region", { name: "Never refused anything" }).getByText("device_punches").waitFor();
  await expectAccessible(tab);
});

it("applies a limits file, with its faults by line, and a device feels it", async () => {
  const { page } = tab;
  const device = new TestDevice(server, "KS-000001");
  await server.call("POST", "/devices/import", `serial,device_id,public_key,manufacturer,model,site\n${device.line}`, "text/csv");
  await device.registers();
  await page.getByRole("button", { name: "Change…" }).click();
  await page.getByLabel("Limits file", { exact: true }).fill("[device_request]\nburst = 2\n");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByText(/^Line 1, device_request.*: .*did you mean `device_requests`/).waitFor();
  await expectAccessible(tab);
  await page.getByLabel("Limits file", { exact: true }).fill("[device_requests]\nburst = 2");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByRole("row", { name: /^device_requests / }).getByText("120 requests a minute, 2 at once").waitFor();
  expect(await beatUntilRefused(device)).toContain("RATE_LIMITED");
  await page.getByRole("row", { name: /^device_requests / }).getByText("1 · 1 · 1").waitFor();
  const refused = page.getByRole("region", { name: "Most refused" }).getByRole("row", { name: /^device_requests KS-000001 1 / });
  await refused.getByRole("link", { name: "KS-000001" }).waitFor();
  await expectAccessible(tab);
});

it("tells two people who change limits of each other, with both files", async () => {
  const { page } = tab;
  await page.getByRole("button", { name: "Change…" }).click();
  const mine = "[user_logins]\nburst = 30\n";
  await page.getByLabel("Limits file", { exact: true }).fill(mine);
  await apply("[device_punches]\nmode = \"shadow\"\n");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByText("Somebody else changed this meanwhile. Nothing was saved.").waitFor();
  await page.getByRole("definition").filter({ hasText: "[device_punches]" }).waitFor();
  await page.getByRole("definition").filter({ hasText: "[user_logins]" }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Keep mine" }).click();
  await expect.poll(() => page.getByLabel("Limits file", { exact: true }).inputValue()).toBe(mine);
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByRole("alertdialog").waitFor({ state: "detached" });
  expect((await limitsNow()).document).toBe(mine);
});

it("rolls limits back", async () => {
  const { page } = tab;
  await page.getByRole("button", { name: "Roll back…" }).click();
  await expectAccessible(tab);
  await page.getByRole("alertdialog").getByRole("button", { name: "Roll back" }).click();
  await page.getByRole("alertdialog").waitFor({ state: "detached" });
  expect((await limitsNow()).document).toContain("[device_punches]");
});

it("shows what a change concerns, and what the server takes for a mistake", async () => {
  const { page } = tab;
  const { document } = await limitsNow();
  await page.getByRole("button", { name: "Change…" }).click();
  await page.getByText("It concerns 1 registered device:").waitFor();
  await page.keyboard.press("Escape");
  await apply('[all_requests]\nburst = 10\nper_min = 60\nmode = "enforce"\n');
  await page.getByRole("status").filter({ hasText: "all_requests" }).waitFor();
  await expectAccessible(tab);
  await apply(document ?? "");
  await page.getByRole("status").filter({ hasText: "all_requests" }).waitFor({ state: "detached" });
});

it("keeps a limits file that was typed when the session ends", async () => {
  const { page } = tab;
  await page.getByRole("button", { name: "Change…" }).click();
  await page.getByLabel("Limits file", { exact: true }).fill("[address_logins]\nburst = 11\n");
  await endSessions("olga");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByRole("alertdialog", { name: "Your session has ended" }).waitFor();
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await expect.poll(async () => (await limitsNow()).document).toBe("[address_logins]\nburst = 11\n");
  await page.getByRole("alertdialog").waitFor({ state: "detached" });
});

it("creates a user who can log in, and changes the role beside somebody else", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "Users" }).click();
  await page.getByRole("cell", { name: "olga (you)" }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "New user…" }).click();
  const dialog = page.getByRole("dialog", { name: "Create a user" });
  await dialog.getByLabel("Name").fill("otto");
  await dialog.getByLabel("Password").fill("a new long password");
  expect(await dialog.getByLabel("Password").getAttribute("autocomplete")).toBe("new-password");
  await dialog.getByLabel("Role").selectOption("viewer");
  await dialog.getByRole("button", { name: "Create" }).click();
  await dialog.getByText("user otto already exists", { exact: false }).waitFor();
  await expectAccessible(tab);
  await dialog.getByLabel("Name").fill("nora");
  await dialog.getByRole("button", { name: "Create" }).click();
  await page.getByRole("row", { name: /^nora viewer enabled/ }).waitFor();

  await page.getByRole("button", { name: "Role… nora" }).click();
  const roles = page.getByRole("dialog", { name: "Change the role of nora" });
  await roles.getByLabel("Role").selectOption("operator");
  await server.call("PATCH", "/users/nora", { role: "factory" });
  await roles.getByRole("button", { name: "Save" }).click();
  await roles.getByText("factory, enabled").waitFor();
  await roles.getByText("operator, enabled").waitFor();
  await expectAccessible(tab);
  await roles.getByRole("button", { name: "Keep mine" }).click();
  await roles.getByRole("button", { name: "Save" }).click();
  await page.getByRole("row", { name: /^nora operator/ }).waitFor();
  expect((await user("nora"))?.role).toBe("operator");
});

it("makes a token that is shown once and works, and revokes it", async () => {
  const { page } = tab;
  await page.getByRole("tab", { name: "Tokens" }).click();
  await page.getByRole("button", { name: "New token…" }).click();
  const dialog = page.getByRole("dialog", { name: "Create a token for a script" });
  await dialog.getByLabel("Name").fill("payroll");
  await dialog.getByRole("button", { name: "Create" }).click();
  const secret = await page.getByLabel("Token", { exact: true }).inputValue();
  expect(secret).toMatch(/^ks_/);
  await expectAccessible(tab);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "I have kept it" }).click();
  const me = () => fetch(`${server.url.replace("localhost", "127.0.0.1")}/api/me`, { headers: { authorization: `Bearer ${secret}` } });
  expect(await (await me()).json()).toMatchObject({ name: "token:payroll", role: "viewer" });
  await page.getByRole("row", { name: /^payroll viewer valid olga/ }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Revoke… payroll" }).click();
  await page.getByRole("button", { name: "Revoke the token" }).click();
  await page.getByRole("row", { name: /^payroll/ }).waitFor({ state: "detached" });
  expect((await me()).status).toBe(401);
  await page.getByLabel("also those that have ended").check();
  await page.getByRole("row", { name: /^payroll viewer revoked/ }).waitFor();
});

it("disables a user after the name was typed, and that user's sessions end", async () => {
  const other = await open(browser);
  await logIn(other, server, "otto", "/fleet");
  const { page } = tab;
  await page.getByRole("tab", { name: "Sessions" }).click();
  await page.getByRole("row", { name: /^otto operator valid/ }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("tab", { name: "Users" }).click();
  await page.getByRole("button", { name: "Disable… otto" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Disable otto" });
  await dialog.getByText("sessions: 1, tokens that the user has made: 0", { exact: false }).waitFor();
  await expectAccessible(tab);
  await dialog.getByLabel("Type otto to confirm").fill("otto");
  await dialog.getByRole("button", { name: "Disable the user" }).click();
  await page.getByRole("row", { name: /^otto operator disabled/ }).waitFor();
  await other.page.getByRole("alertdialog", { name: "Your session has ended" }).waitFor();
  await page.getByRole("button", { name: "Enable… otto" }).click();
  await page.getByRole("button", { name: "Enable the user" }).click();
  await page.getByRole("row", { name: /^otto operator enabled/ }).waitFor();
  await page.getByRole("button", { name: "Password… otto" }).click();
  await page.getByLabel("New password", { exact: true }).fill("another long password");
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Set the password" }).click();
  await page.getByRole("alertdialog").waitFor({ state: "detached" });
  await other.page.getByLabel("Password").fill("another long password");
  await other.page.keyboard.press("Enter");
  await other.page.getByRole("alertdialog").waitFor({ state: "detached" });
  expectNoComplaints(other);
  await other.context.close();
});

it("finds what was done in the audit, verifies it and exports it", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "Audit" }).click();
  await page.getByRole("row", { name: /user.edit otto/ }).first().waitFor();
  await expectAccessible(tab);
  await page.getByLabel("Action begins with").fill("token.");
  await page.waitForURL("**/audit?action=token.");
  await page.getByRole("row", { name: /token.revoke/ }).first().waitFor();
  await page.getByRole("row", { name: /user.edit otto/ }).first().waitFor({ state: "detached" });
  await page.getByLabel("By", { exact: true }).fill("nobody");
  await page.getByText("No line matches this filter.").waitFor();
  await page.reload();
  await expect.poll(() => page.getByLabel("Action begins with").inputValue()).toBe("token.");
  await page.getByRole("button", { name: "Clear the filter" }).click();
  await page.getByLabel("Action begins with").fill("User Edit");
  await page.getByText("Actions are written with a-z, _ and . only.").waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Clear the filter" }).click();
  await page.getByRole("button", { name: "Verify the chain" }).click();
  await page.getByText(/^The audit is whole, up to line \d+\.$/).waitFor();
  await expectAccessible(tab);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Export all" }).click()]);
  const lines = readFileSync(await download.path(), "utf8").trim().split("\n");
  expect(JSON.parse(lines.at(-1) ?? "{}")).toMatchObject({ number: lines.length });
});

it("says so when a tab is out of date", async () => {
  const { page, context } = tab;
  await page.goto(`${server.url}/audit`);
  await page.getByRole("button", { name: "Verify the chain" }).waitFor();
  await page.route(`${server.url}/`, (route) =>
    route.fulfill({ contentType: "text/html", body: '<div id="root"></div><script type="module" src="/assets/index-newer.js"></script>' }),
  );
  // What a browser does when a tab comes to the front.
  const toFront = () => page.evaluate(() => window.dispatchEvent(new Event("visibilitychange")));
  await toFront();
  await page.getByText("The server has been updated since this page was opened.", { exact: false }).waitFor();
  await expectAccessible(tab);
  const second = await context.newPage();
  await second.goto(`${server.url}/fleet`);
  await second.getByRole("button", { name: "Log out" }).click();
  await second.getByLabel("Name").fill("nora");
  await second.getByLabel("Password").fill("a new long password");
  await second.keyboard.press("Enter");
  await second.getByRole("navigation", { name: "Pages" }).waitFor();
  await toFront();
  await page.getByText("In another tab nora has logged in.", { exact: false }).waitFor();
  await expectAccessible(tab);
  await page.unroute(`${server.url}/`);
  await page.getByRole("button", { name: "Reload" }).click();
  await page.getByText("nora · operator").waitFor();
  expectNoComplaints(tab);
});
