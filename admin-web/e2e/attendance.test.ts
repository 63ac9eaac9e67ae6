/**
 * Goal: people see the punches of a site and a day, as that day is at the site, and get the same ones as a file.
 * Method: simulated devices punch beside the browser; one device punches around midnight on the day on which the clocks change.
 */

import { readFileSync } from "node:fs";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { TestDevice } from "./support/device";
import { type Beating, Server } from "./support/server";

/** What would run in a page that takes texts for markup, and in a spreadsheet that takes them for a formula. */
const MARKUP = `<img src=x onerror="document.title='owned'">`;
const FORMULA = "=HYPERLINK(1)";

/** The two in the middle are of the day that has 25 hours in Berlin. */
const AROUND_MIDNIGHT = [
  "2026-10-24T21:59:59.000Z",
  "2026-10-24T22:00:00.000Z",
  "2026-10-25T22:59:59.000Z",
  "2026-10-25T23:00:00.000Z",
];

let server: Server;
let fleet: Beating;
let browser: Browser;
let tab: Tab;

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("vera", "viewer");
  const hand = await TestDevice.registered(server, { serial: "S-1", device_id: "HAND-1", site: "Köln & Süd" }, "1.0");
  await hand.punches(1, AROUND_MIDNIGHT, MARKUP);
  await hand.punches(11, ["2026-10-20T10:00:00.000Z"], FORMULA);
  fleet = server.beat("two-sites.toml");
  browser = await launch();
  tab = await open(browser);
  await logIn(tab, server, "vera", "/fleet");
});

afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
  await server?.stop();
});

it("shows what devices punch today, by site and device", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "Attendance", exact: true }).click();
  const total = async () => {
    await page.reload();
    return page.getByRole("status").filter({ hasText: /punch/ }).first().textContent();
  };
  await expect.poll(total, { timeout: 120_000 }).toBe("80 punches");
  await expectAccessible(tab);
  await page.getByRole("combobox", { name: "Site" }).selectOption("lyon");
  await page.waitForURL("**/punches?site=lyon");
  await expect.poll(() => page.getByRole("cell", { name: "berlin" }).count()).toBe(0);
  await page.getByRole("cell", { name: "lyon" }).first().waitFor();
  const deviceId = (await page.getByRole("cell", { name: /^WEB-/ }).first().textContent()) ?? "";
  await page.getByRole("searchbox", { name: "Device" }).fill(deviceId);
  await page.getByText("2 punches", { exact: true }).waitFor();
  expect(page.url()).toContain(`site=lyon&device_id=${deviceId}`);
});

it("takes a day as it is in a time zone, and exports the same punches", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/punches?day=2026-10-25&zone=Europe/Berlin`);
  await page.getByText("2 punches", { exact: true }).waitFor();
  await page.getByRole("heading", { name: "Sunday, 25 October 2026" }).or(page.getByRole("heading", { name: "Sunday 25 October 2026" })).waitFor();
  const times = await page.getByRole("cell").locator("time").evaluateAll((all) => all.map((time) => [time.textContent, time.getAttribute("title")]));
  expect(times[0]?.[0]).toMatch(/25 Oct.*00:00:00/);
  expect(times[0]?.[1]).toBe("2026-10-24 22:00:00 UTC");
  await expectAccessible(tab);
  const downloading = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download the CSV" }).click();
  const download = await downloading;
  expect(download.suggestedFilename()).toMatch(/^attendance.*\.csv$/);
  const rows = readFileSync(await download.path(), "utf8").trim().split("\n");
  expect(rows.slice(1).map((row) => row.split(",").slice(0, 4).join(","))).toEqual([
    "Köln & Süd,HAND-1,2,2026-10-24T22:00:00.000Z",
    "Köln & Süd,HAND-1,3,2026-10-25T22:59:59.000Z",
  ]);
  await page.getByRole("combobox", { name: "Time zone of the day" }).selectOption("UTC");
  await page.getByText("2 punches", { exact: true }).waitFor();
  await page.getByText("23:00:00", { exact: false }).waitFor();
  await page.getByRole("button", { name: "Day before" }).click();
  await page.waitForURL(/day=2026-10-24/);
  await page.getByText("00:00:00", { exact: false }).waitFor({ state: "detached" });
  await page.getByText("22:00:00", { exact: false }).first().waitFor();
});

it("shows markup as text, and writes a formula as text", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/punches?day=2026-10-25&zone=Europe/Berlin`);
  await page.getByRole("cell", { name: MARKUP }).first().waitFor();
  expect(await page.title()).not.toContain("owned");
  expect(await page.locator('img[src="x"]').count()).toBe(0);
  await page.goto(`${server.url}/punches?day=2026-10-20&zone=UTC`);
  await page.getByRole("cell", { name: FORMULA }).waitFor();
  await page.getByRole("combobox", { name: "Format" }).selectOption({ index: 1 });
  const downloading = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download the CSV" }).click();
  const text = readFileSync(await (await downloading).path(), "utf8");
  expect(text.startsWith("\uFEFFsite;device_id;")).toBe(true);
  expect(text).toContain(`'${FORMULA}`);
});

it("says so where there is nothing, in German too", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/punches?day=2001-01-01`);
  await page.getByText("There are no punches on this day.").waitFor();
  await expectAccessible(tab);
  await page.getByLabel("Language").selectOption("Deutsch");
  await page.getByRole("heading", { name: "Zeiterfassung" }).waitFor();
  await page.getByText("An diesem Tag gibt es keine Buchungen.").waitFor();
  await expectAccessible(tab);
  expectNoComplaints(tab);
});
