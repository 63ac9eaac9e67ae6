/**
 * Goal: an admin changes the server's key without losing a device: each step waits until devices know it, who would be stranded is
 * named, and a leaked key is revoked at once.
 * Method: simulated devices that fetch keysets, and one that says exactly which keyset it holds.
 */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { FleetPresence, KeysStatus } from "../src/api/types";
import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { TestDevice } from "./support/device";
import { type Beating, Server } from "./support/server";

let server: Server;
let fleet: Beating;
let browser: Browser;
let tab: Tab;
let late: TestDevice;

const keys = () => server.call<KeysStatus>("GET", "/keys");
const idOf = async (status: string) => (await keys()).keys.find((key) => key.status === status)?.key_id ?? "none";

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("olga", "admin");
  await server.makeUser("vera", "viewer");
  late = new TestDevice(server, "LATE-1");
  await server.call("POST", "/devices/import", `serial,device_id,public_key,manufacturer,model,site\n${late.line}`, "text/csv");
  await late.registers();
  await late.beats({ keysetVersion: 1 });
  fleet = server.beat("two-sites.toml");
  browser = await launch();
  tab = await open(browser);
  await logIn(tab, server, "olga", "/server-keys");
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
  await server?.stop();
});

it("announces a key, with a reason", async () => {
  const { page } = tab;
  await expect.poll(async () => (await keys()).active_devices).toBe(41);
  await page.getByRole("heading", { name: "1. Announce the next key" }).waitFor();
  await page.getByText("cannot be verified here").waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Announce…" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Announce a new key" });
  await expectAccessible(tab);
  expect(await dialog.getByRole("button", { name: "Announce" }).getAttribute("aria-disabled")).toBe("true");
  await dialog.getByLabel("Reason").fill("yearly rotation");
  await dialog.getByRole("button", { name: "Announce" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("listitem").filter({ hasText: "2. Activate it" }).getByText("now", { exact: true }).waitFor();
  expect((await keys()).keys.map((key) => key.status).sort()).toEqual(["ANNOUNCED", "SIGNING"]);
});

it("names who would be stranded, and does not go on by mistake", async () => {
  const { page } = tab;
  await page.getByText("40 of 41").first().waitFor();
  await page.getByText(/^Wait: 1 active device has not confirmed/).waitFor();
  await page.getByText("Would be stranded", { exact: true }).click();
  await page.getByRole("link", { name: "LATE-1" }).waitFor();
  expect(await page.getByRole("button", { name: "Activate…" }).count()).toBe(0);
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Go on and strand them…" }).click();
  const dialog = page.getByRole("alertdialog");
  await dialog.getByLabel("Reason").fill("in a hurry");
  await dialog.getByLabel("Type 1 to confirm").fill("2");
  expect(await dialog.getByRole("button", { name: "Activate" }).getAttribute("aria-disabled")).toBe("true");
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  expect(await idOf("ANNOUNCED")).not.toBe("none");
});

it("goes on once every device knows the new key, up to the end of the old one", async () => {
  const { page } = tab;
  const [old, next] = [await idOf("SIGNING"), await idOf("ANNOUNCED")];
  await late.beats({ keysetVersion: 2 });
  await page.getByText("Nobody would be stranded.", { exact: false }).waitFor();
  await page.getByRole("button", { name: "Activate…" }).click();
  await page.getByRole("alertdialog", { name: `Sign with ${next}` }).getByLabel("Reason").fill("yearly rotation");
  await page.keyboard.press("Enter");
  await page.getByRole("listitem").filter({ hasText: "3. Retire the old one" }).getByText("now", { exact: true }).waitFor();
  expect(await idOf("SIGNING")).toBe(next);
  await late.beats({ keysetVersion: 3 });
  await page.getByText("Nobody would be stranded.", { exact: false }).waitFor();
  await page.getByRole("button", { name: "Retire…" }).click();
  await page.getByRole("alertdialog", { name: `Retire ${old}` }).getByLabel("Reason").fill("yearly rotation");
  await page.keyboard.press("Enter");
  await page.getByRole("row", { name: new RegExp(`${old} removed`) }).waitFor();
  await expectAccessible(tab);
  // Every simulated device verifies the answers that it gets: those that go on beating trust the new key.
  await expect.poll(async () => (await keys()).confirmed_devices).toBe(40);
  expect((await server.call<FleetPresence>("GET", "/presence")).total.online).toBeGreaterThanOrEqual(40);
});

it("tells two people who change the keys of each other", async () => {
  const { page } = tab;
  await page.getByRole("button", { name: "Announce…" }).click();
  const dialog = page.getByRole("alertdialog");
  await dialog.getByLabel("Reason").fill("mine");
  await server.call("POST", "/keys/announce", { reason: "somebody else's" });
  await dialog.getByText("The keys have changed since this page asked.", { exact: false }).waitFor();
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  expect((await keys()).keys.filter((key) => key.status === "ANNOUNCED")).toHaveLength(1);
});

it("revokes a leaked key at once, after its successor was announced", async () => {
  const { page } = tab;
  const announced = await idOf("ANNOUNCED");
  await server.call("POST", "/keys/revoke", { key_id: announced, reason: "so that there is no successor" });
  const leaked = await idOf("SIGNING");
  await page.getByRole("link", { name: "A key has leaked: revoke it…" }).click();
  await page.getByRole("radio", { name: new RegExp(leaked) }).check();
  await page.getByText("can't be revoked before another one is announced", { exact: false }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Announce…" }).click();
  await page.getByRole("alertdialog").getByLabel("Reason").fill("leaked, ticket 4711");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: `Revoke ${leaked}…` }).click();
  const dialog = page.getByRole("alertdialog", { name: `Revoke ${leaked}` });
  await dialog.getByLabel("Reason").fill("leaked, ticket 4711");
  await dialog.getByLabel(`Type ${leaked} to confirm`).fill(leaked);
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: "Revoke the key" }).click();
  await page.getByText(`${leaked} is revoked.`).waitFor();
  await expectAccessible(tab);
  expect((await keys()).keys.find((key) => key.key_id === leaked)?.status).toBe("REMOVED");
  expect(await idOf("SIGNING")).not.toBe(leaked);
});

it("shows devices with a keyset of somebody else, and a viewer no buttons", async () => {
  await late.beats({ keysetVersion: 99 });
  const viewer = await open(browser);
  await logIn(viewer, server, "vera", "/server-keys");
  await viewer.page.getByRole("heading", { name: "Another server's keyset" }).waitFor();
  await viewer.page.getByRole("link", { name: "LATE-1" }).first().waitFor();
  expect(await viewer.page.getByRole("main").getByRole("button").count()).toBe(0);
  await expectAccessible(viewer);
  expectNoComplaints(viewer);
  expectNoComplaints(tab);
});
