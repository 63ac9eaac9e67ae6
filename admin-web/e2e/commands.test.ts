/**
 * Goal: people order commands and revoke devices knowing what they hit: they see a count first, confirm it, and follow it to the effect.
 * Method: simulated devices beat beside the browser; what they did is read from the API. One device sends what the test gives it.
 */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Command, DeviceDetails, FleetPresence } from "../src/api/types";
import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { TestDevice } from "./support/device";
import { type Beating, Server } from "./support/server";

/** What would run in a page that takes texts for markup. */
const MARKUP = `<img src=x onerror="document.title='owned'">`;

let server: Server;
let fleet: Beating;
let hand: TestDevice;
let browser: Browser;
let tab: Tab;
/** Devices at the site that is ordered to reboot. */
let atLyon: DeviceDetails[];

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("olga", "operator");
  await server.makeUser("vera", "viewer");
  hand = await TestDevice.registered(server, { serial: "S-1", device_id: "HAND-1", site: "depot" }, "1.0");
  fleet = server.beat("two-sites.toml");
  browser = await launch();
  tab = await open(browser);
  await logIn(tab, server, "olga", "/commands");
});

afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
  await server?.stop();
});

const devices = async (filter: string) => (await server.call<{ items: DeviceDetails[] }>("GET", `/devices?${filter}`)).items;
const commands = async (filter: string) => (await server.call<{ items: Command[] }>("GET", `/commands?${filter}`)).items;

it("counts what an order hits, orders it once it is confirmed, and follows it until every device has done it", async () => {
  const { page } = tab;
  const online = async () => (await server.call<FleetPresence>("GET", "/presence")).total.online;
  await expect.poll(online, { timeout: 120_000 }).toBeGreaterThanOrEqual(40);
  atLyon = await devices("site=lyon");
  await page.getByRole("link", { name: "Order a command" }).click();
  await page.getByText("Nothing is selected yet.").waitFor();
  await expectAccessible(tab);
  await page.getByRole("combobox", { name: "Site" }).selectOption("lyon");
  await page.getByText(`${atLyon.length} devices get the command, each with its next heartbeat.`).waitFor();
  await page.getByRole("combobox", { name: "Command" }).selectOption("reboot (reboot)");
  await page.getByRole("button", { name: "Order…" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Order reboot?" });
  await dialog.getByText("The device restarts: it takes no punches meanwhile.").waitFor();
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: "Order it" }).click({ force: true });
  // The simulated fleet has commands of its own.
  const reboots = async () => (await commands("state=QUEUED")).filter((command) => command.kind === "reboot");
  expect(await reboots()).toEqual([]);
  await dialog.getByLabel(`Type ${atLyon.length} to confirm`).fill(String(atLyon.length));
  await dialog.getByRole("button", { name: "Order it" }).click();
  await page.waitForURL("**/commands/orders/*");
  await page.getByText("Every command of this order has ended.").waitFor();
  await page.getByRole("cell", { name: "succeeded" }).first().waitFor();
  await expectAccessible(tab);
  const order = page.url().split("/").at(-1) ?? "";
  const done = await commands(`order_id=${order}`);
  expect(done.map((command) => [command.kind, command.state])).toEqual(atLyon.map(() => ["reboot", "SUCCEEDED"]));
  const before = new Map(atLyon.map((device) => [device.device_id, device.boot_epoch]));
  const after = await devices("site=lyon");
  expect(after.every((device) => device.boot_epoch > (before.get(device.device_id) ?? Number.MAX_SAFE_INTEGER))).toBe(true);
});

it("lists commands by device and state, as the address says", async () => {
  const { page } = tab;
  const deviceId = atLyon[0]?.device_id ?? "";
  await page.getByRole("link", { name: "Commands" }).click();
  await page.getByRole("cell", { name: "reboot" }).first().waitFor();
  await page.getByRole("searchbox", { name: "Device" }).fill(deviceId);
  await page.waitForURL(`**/commands?device_id=${deviceId}`);
  await page.getByRole("combobox", { name: "State" }).selectOption("succeeded");
  await page.waitForURL(`**/commands?device_id=${deviceId}&state=SUCCEEDED`);
  await expect.poll(() => page.getByRole("cell", { name: /^WEB-/ }).allTextContents()).toEqual([deviceId, deviceId]);
  await page.reload();
  await expect.poll(() => page.getByRole("combobox", { name: "State" }).inputValue()).toBe("SUCCEEDED");
  await expectAccessible(tab);
  await page.getByRole("combobox", { name: "Ended" }).selectOption("not yet");
  await page.getByText("There are no such commands.").waitFor();
});

it("says that an order without an answer may have been made, and sends none later", async () => {
  const { page, context } = tab;
  await page.goto(`${server.url}/devices/HAND-1`);
  await page.getByRole("link", { name: "Order a command" }).click();
  await page.getByText("1 device gets the command").waitFor();
  await page.getByRole("combobox", { name: "Command" }).selectOption("another, as agreed with the firmware");
  await page.getByLabel("Its kind").fill("beep");
  await page.getByRole("button", { name: "Order…" }).click();
  const dialog = page.getByRole("alertdialog");
  await context.setOffline(true);
  await dialog.getByRole("button", { name: "Order it" }).click();
  await dialog.getByText(/^No answer came from the server\. It may have made the change all the same/).waitFor();
  await context.setOffline(false);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await page.reload();
  await page.getByRole("heading", { name: "Order a command" }).waitFor();
  expect(await commands("device_id=HAND-1")).toEqual([]);
});

it("cancels a command before its device gets it, and shows markup as text", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/devices/HAND-1`);
  await page.getByRole("link", { name: "Order a command" }).click();
  await page.getByText("1 device gets the command").waitFor();
  await page.getByRole("combobox", { name: "Command" }).selectOption("another, as agreed with the firmware");
  await page.getByLabel("Its kind").fill("beep");
  await page.getByLabel("Argument").fill(MARKUP);
  await page.getByRole("combobox", { name: "Expires after" }).selectOption("1 hr");
  await page.getByRole("button", { name: "Order…" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Order it" }).click();
  await page.getByText(MARKUP).waitFor();
  await page.getByText("0 of 1 commands have ended").waitFor();
  await page.getByRole("button", { name: "Cancel the command of HAND-1" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Cancel this command?" });
  await dialog.getByText("beep for HAND-1 will not be sent to it any more.").waitFor();
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: "Cancel the command" }).click();
  await page.getByRole("cell", { name: "canceled", exact: true }).waitFor();
  expect(await hand.beats()).not.toContain("beep");
  expect(await page.title()).not.toContain("owned");
  await expectAccessible(tab);
});

it("shows what a device answers to a command as text", async () => {
  const { page } = tab;
  const { order_id } = await server.call<{ order_id: string }>("POST", "/commands", {
    which: { device_ids: ["HAND-1"] },
    command: { kind: "reboot" },
    ttl_s: 600,
  });
  const [command] = await commands(`order_id=${order_id}`);
  await hand.beats({ acks: [{ command_id: command?.command_id ?? "", state: "FAILED", detail: MARKUP }] });
  await page.goto(`${server.url}/commands/orders/${order_id}`);
  await page.getByRole("cell", { name: MARKUP }).waitFor();
  await page.getByRole("cell", { name: "failed", exact: true }).waitFor();
  expect(await page.locator('img[src="x"]').count()).toBe(0);
  await page.goto(`${server.url}/commands/orders/nobody-knows-me`);
  await page.getByText(/^There is no order nobody-knows-me/).waitFor();
  await expectAccessible(tab);
});

it("revokes devices by label, with a reason and their number typed", async () => {
  const { page } = tab;
  const stolen = ["WEB-000003", "WEB-000004"];
  for (const deviceId of stolen) await server.call("PATCH", `/devices/${deviceId}`, { labels: ["stolen"] });
  await page.goto(`${server.url}/fleet`);
  await page.getByRole("link", { name: "Revoke devices" }).click();
  await page.getByRole("textbox", { name: "Label" }).fill("stolen");
  await page.getByText("2 devices will be refused from now on.").waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Revoke…" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Revoke 2 devices?" });
  await dialog.getByLabel("Type 2 to confirm").fill("2");
  await dialog.getByRole("button", { name: "Revoke them" }).click({ force: true });
  expect((await devices("status=REVOKED")).length).toBe(0);
  await dialog.getByLabel("Reason").fill("stolen van, ticket 4711");
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: "Revoke them" }).click();
  await page.getByText("2 devices revoked.").waitFor();
  await expectAccessible(tab);
  const revoked = await devices("status=REVOKED");
  expect(revoked.map((device) => [device.device_id, device.revoke_reason])).toEqual(stolen.map((id) => [id, "stolen van, ticket 4711"]));
  const [seen] = revoked.map((device) => device.last_seen_at);
  await page.getByRole("link", { name: "Show them" }).click();
  await page.getByRole("link", { name: "WEB-000003" }).waitFor();
  const { at } = await server.call<FleetPresence>("GET", "/presence");
  const waiting = async () => Date.parse((await server.call<FleetPresence>("GET", "/presence")).at) - Date.parse(at);
  await expect.poll(waiting).toBeGreaterThan(2_000);
  expect((await devices("status=REVOKED"))[0]?.last_seen_at).toBe(seen);
});

it("revokes nothing if the selection has changed since it was counted", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/revocation?site=depot`);
  await page.getByText("1 device will be refused from now on.").waitFor();
  await page.getByRole("button", { name: "Revoke…" }).click();
  await server.import([{ serial: "S-2", device_id: "HAND-2", site: "depot" }]);
  const dialog = page.getByRole("alertdialog", { name: "Revoke 1 device?" });
  await dialog.getByLabel("Reason").fill("closed");
  await dialog.getByLabel("Type 1 to confirm").fill("1");
  await dialog.getByRole("button", { name: "Revoke them" }).click();
  await dialog.getByText(/^The selection has changed meanwhile: it now hits 2\./).waitFor();
  await expectAccessible(tab);
  expect((await server.call<DeviceDetails>("GET", "/devices/HAND-1")).status).toBe("REGISTERED");
  await dialog.getByRole("button", { name: "Cancel" }).click();
});

it("revokes one device by its name, which is refused from then on", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/devices/HAND-1`);
  await page.getByRole("link", { name: "Revoke…" }).click();
  await page.getByText("1 device will be refused from now on.").waitFor();
  await page.getByRole("button", { name: "Revoke…" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Revoke 1 device?" });
  await dialog.getByLabel("Reason").fill("lost");
  await dialog.getByLabel("Type HAND-1 to confirm").fill("HAND-1");
  await dialog.getByRole("button", { name: "Revoke them" }).click();
  await page.getByText("1 device revoked.").waitFor();
  expect(await hand.send("/heartbeat", "heartbeat", TestDevice.beat())).toContain("REVOKED");
  expectNoComplaints(tab);
});

it("lets a viewer see commands, and neither order nor revoke", async () => {
  const viewing = await open(browser, { locale: "de-DE" });
  const { page } = viewing;
  await page.goto(`${server.url}/commands`);
  await page.getByLabel("Name").fill("vera");
  await page.getByLabel("Passwort").fill("correct horse battery");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Befehle" }).waitFor();
  await page.getByRole("cell", { name: "erledigt" }).first().waitFor();
  expect(await page.getByRole("link", { name: "Befehl anordnen" }).count()).toBe(0);
  expect(await page.getByRole("button", { name: /zurücknehmen/ }).count()).toBe(0);
  await expectAccessible(viewing);
  const names = await page.getByRole("navigation", { name: "Seiten" }).getByRole("link").allTextContents();
  expect(names).not.toContain("Geräte sperren");
  await page.goto(`${server.url}/revocation`);
  await page.getByRole("heading", { name: "Diese Seite ist nicht für Ihre Rolle." }).waitFor();
  await expectAccessible(viewing);
  expectNoComplaints(viewing);
  await viewing.context.close();
});
