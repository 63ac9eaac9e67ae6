/**
 * Goal: a person who sees that a device is silent gets from there to what to check first, to its log, and to a note for somebody else.
 * Method: simulated devices beat beside the browser, then stop; one device has markup in every text that it or its factory writes.
 */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Command } from "../src/api/types";
import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { TestDevice } from "./support/device";
import { type Beating, Server } from "./support/server";

/** What would run in a page that takes texts for markup. */
const MARKUP = `<img src=x onerror="document.title='owned'">`;

let server: Server;
let fleet: Beating;
let browser: Browser;
let tab: Tab;

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("olga", "operator");
  await server.makeUser("vera", "viewer");
  const device = await TestDevice.registered(
    server,
    { serial: MARKUP, device_id: "HOSTILE", manufacturer: MARKUP, model: MARKUP, site: MARKUP },
    MARKUP,
  );
  await server.call("PATCH", "/devices/HOSTILE", { labels: [MARKUP] });
  await device.beats({ firmwareVersion: MARKUP });
  await device.logs([MARKUP, "reader does not answer"]);
  fleet = server.beat("two-sites.toml");
  browser = await launch();
  tab = await open(browser);
  await tab.context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await logIn(tab, server, "olga", "/devices/WEB-000007");
});

afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
  await server?.stop();
});

/** The command that the page follows: the simulated fleet has orders of its own. */
const shownCommand = async () => {
  const order = new URL(tab.page.url()).searchParams.get("order");
  const [command] = (await server.call<{ items: Command[] }>("GET", `/commands?order_id=${order}`)).items;
  return [command?.device_id, command?.kind, command?.argument, command?.state];
};

it("leads from a device to its investigation, and follows an order of its log to the answer", async () => {
  const { page } = tab;
  await page.getByText("online", { exact: true }).waitFor({ timeout: 120_000 });
  await page.getByRole("link", { name: "Investigate" }).click();
  await page.getByRole("heading", { name: "Investigate WEB-000007" }).waitFor();
  await page.getByText("Heard within two heartbeat intervals.").waitFor();
  await page.getByRole("link", { name: "Missing devices of this site" }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Fetch logs now" }).click();
  await page.waitForURL(/order=o/);
  await page.getByRole("status").getByText("succeeded").waitFor();
  expect(await shownCommand()).toEqual(["WEB-000007", "fetch_logs", "lines_max: 200", "SUCCEEDED"]);
  await page.reload();
  await page.getByRole("status").getByText("succeeded").waitFor();
  await expectAccessible(tab);
});

it("shows what a device and its factory have written as text, in the note too", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/devices/HOSTILE/investigate`);
  await page.getByRole("cell", { name: MARKUP }).first().waitFor();
  await page.getByRole("cell", { name: "reader does not answer" }).waitFor();
  await page.getByRole("button", { name: "Write a note" }).click();
  const note = await page.getByRole("textbox", { name: "Note" }).inputValue();
  expect(note).toContain(`Serial number: ${MARKUP}`);
  expect(note).toContain(`error ${MARKUP}`);
  expect(await page.title()).not.toContain("owned");
  expect(await page.locator('img[src="x"]').count()).toBe(0);
  await expectAccessible(tab);
});

it("leads from what needs a person to a silent device, which gets the order once it is back", async () => {
  const { page } = tab;
  // An order of the fleet's own that a device did not get would wait for it: the page then offers no second one.
  const ended = async () => (await server.call<{ items: Command[] }>("GET", "/commands?state=SUCCEEDED&limit=1000")).items;
  await expect.poll(async () => (await ended()).filter((command) => command.argument === "level: info").length).toBe(40);
  await fleet.stop();
  await page.goto(`${server.url}/fleet`);
  await page.getByText(/^Site berlin: \d+ of \d+ devices are missing/).waitFor({ timeout: 120_000 });
  const concern = page.getByRole("listitem").filter({ hasText: "Site berlin:" });
  const link = concern.getByRole("link", { name: /^WEB-/ }).first();
  await link.waitFor();
  await expectAccessible(tab);
  const deviceId = (await link.textContent()) ?? "";
  await link.click();
  await page.getByRole("heading", { name: `Investigate ${deviceId}` }).waitFor();
  await page.getByText("Most devices of its site are missing. Check the site's network and power first.").waitFor();
  await page.getByText("Late by").waitFor();
  await page.getByRole("button", { name: "Fetch logs now" }).click();
  await page.getByText("Waits for its next heartbeat").waitFor();
  await page.getByText("An order waits for it already.").waitFor();
  expect(await shownCommand()).toEqual([deviceId, "fetch_logs", "lines_max: 200", "QUEUED"]);
  await page.getByRole("button", { name: "Write a note" }).click();
  await page.getByRole("button", { name: "Copy the note" }).click();
  await page.getByText("Copied.").waitFor();
  const note = await page.evaluate(() => navigator.clipboard.readText());
  for (const fact of [`${deviceId}: registered, late`, "Site: berlin", "Missing at its site:", "fetch_logs queued"]) expect(note).toContain(fact);
  await expectAccessible(tab);
  expectNoComplaints(tab);
});

it("lets a viewer read it, and order nothing", async () => {
  const viewing = await open(browser, { locale: "de-DE" });
  const { page } = viewing;
  await page.goto(`${server.url}/devices/HOSTILE/investigate`);
  await page.getByLabel("Name").fill("vera");
  await page.getByLabel("Passwort").fill("correct horse battery");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "HOSTILE untersuchen" }).waitFor();
  await page.getByRole("button", { name: "Notiz schreiben" }).waitFor();
  expect(await page.getByRole("button", { name: "Protokoll jetzt holen" }).count()).toBe(0);
  await expectAccessible(viewing);
  expectNoComplaints(viewing);
  await viewing.context.close();
});
