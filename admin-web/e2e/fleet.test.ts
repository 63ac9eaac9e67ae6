/**
 * Goal: people see the fleet as it is: who beats, who is missing, and what one device reports; also while the server restarts.
 * Method: simulated devices beat against the server beside the browser; then they stop.
 */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { type Beating, Server } from "./support/server";

let server: Server;
let fleet: Beating;
let browser: Browser;
let tab: Tab;

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("olga", "admin");
  fleet = server.beat("two-sites.toml");
  browser = await launch();
  tab = await open(browser);
  await logIn(tab, server, "olga");
});

afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
  await server?.stop();
});

it("shows devices coming online, by site, model and firmware", async () => {
  const { page } = tab;
  await page.getByRole("heading", { name: "Fleet" }).waitFor();
  await page.getByRole("definition").filter({ hasText: "40 (100%)" }).waitFor({ timeout: 120_000 });
  await page.getByRole("row", { name: /^berlin/ }).getByText("100%").waitFor();
  await page.getByRole("row", { name: /^KS-200/ }).waitFor();
  await page.getByText("Nothing needs a person now.").waitFor();
  await page.getByRole("meter", { name: "1.30" }).waitFor();
  // 40 devices that beat once a second are 2,400 a minute.
  await page.getByText(/^2,[2-6]\d\d$/).waitFor({ timeout: 120_000 });
  await expectAccessible(tab);
});

it("leads from a site to its devices", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "lyon" }).click();
  await page.waitForURL("**/devices?site=lyon");
  await expect.poll(() => page.getByLabel("Site").inputValue()).toBe("lyon");
  const rows = page.getByRole("table", { name: "Devices" }).getByRole("row").filter({ hasText: "lyon" });
  await expect.poll(() => rows.count()).toBeGreaterThan(3);
  expect(await page.getByText("berlin", { exact: true }).and(page.getByRole("cell")).count()).toBe(0);
  await expectAccessible(tab);
});

it("shows what a device reports, and what it has done", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/devices/WEB-000007`);
  await page.getByText("online", { exact: true }).waitFor();
  await page.getByRole("img", { name: /^Heartbeats received: silent for 0 sec/ }).waitFor();
  await expect.poll(() => page.locator(".uplot canvas").count()).toBeGreaterThanOrEqual(3);
  await page.getByText(/^Processor temperature: [\d.]+ °C now/).waitFor({ state: "attached" });
  await page.getByRole("cell", { name: "1.30" }).waitFor();
  await expectAccessible(tab);
  for (const [name, content] of [
    ["Commands", "fetch_logs"],
    ["Log", /.+/],
    ["Punches", "card"],
    ["Audit", "device.register"],
  ] as const) {
    await page.getByRole("tab", { name }).click();
    await page.getByRole("tabpanel").getByRole("cell", { name: content }).first().waitFor();
    await expectAccessible(tab);
  }
  expect(page.url()).toContain("tab=audit");
});

it("goes on after a restart of the server, and says so meanwhile", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/fleet`);
  await page.getByText("Nothing needs a person now.").waitFor();
  await server.kill();
  await page.getByText(/^The server has not answered since/).first().waitFor({ timeout: 120_000 });
  await page.getByRole("row", { name: /^berlin/ }).waitFor();
  await expectAccessible(tab);
  await server.startAgain();
  await page.getByText(/^The server has not answered since/).first().waitFor({ state: "detached", timeout: 120_000 });
  await page.getByRole("row", { name: /^berlin/ }).waitFor();
});

it("shows who is missing once devices are silent", async () => {
  const { page } = tab;
  await fleet.stop();
  await page.getByText(/^Site berlin: \d+ of \d+ devices are missing/).waitFor({ timeout: 120_000 });
  await expectAccessible(tab);
  await page.getByText(/^Site berlin: \d+ of \d+ devices are missing/).click();
  await page.waitForURL("**/devices?site=berlin&presence=MISSING");
  await page.getByRole("link", { name: /^WEB-/ }).first().waitFor();
  expectNoComplaints(tab);
});
