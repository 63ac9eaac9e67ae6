/**
 * Goal: a release is uploaded, drafted, staged, activated and revoked in the browser, by the server's signature and by one made
 * offline, and the browser itself verifies the signature if it was given a key.
 * Method: each flow from the first click to what the API says; the pages built with the server's key, and an answer that was changed.
 */

import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Release } from "../src/api/types";
import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { FirmwareKey } from "./support/firmware";
import { type Pages, pagesWith, publicKeyOf } from "./support/pages";
import { PASSWORD, Server } from "./support/server";

let server: Server;
let browser: Browser;
let tab: Tab;
let pages: Pages | undefined;

const firmwareKey = new FirmwareKey();
const OFFLINE = { id: "fw-3.1.0", version: "3.1.0", counter: 31, models: ["KS-100"], image: "an image signed offline" };

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("rita", "release_manager");
  await server.makeUser("vera", "viewer");
  await server.import([{ serial: "S-1", device_id: "KS-000001" }]);
  browser = await launch();
  tab = await open(browser);
  await logIn(tab, server, "rita", "/releases");
});

afterAll(async () => {
  await browser?.close();
  await pages?.stop();
  await server?.stop();
});

const release = (id: string) => server.call<Release>("GET", `/releases/${id}`);

/** Gives an order in its dialog. */
async function order(button: string, act: string, typed?: string): Promise<void> {
  const { page } = tab;
  await page.getByRole("button", { name: button }).click();
  const dialog = page.getByRole("alertdialog");
  await dialog.getByLabel("Reason").fill("tests passed");
  if (typed !== undefined) await dialog.getByLabel(`Type ${typed} to confirm`).fill(typed);
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: act }).click();
  await dialog.waitFor({ state: "detached" });
}

it("drafts a release that the server signs, from an image that is uploaded", async () => {
  const { page } = tab;
  await page.getByText("There are no releases yet.").waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "New release" }).click();
  await page.getByLabel("Signed by").selectOption("the server, when it is staged");
  await page.getByRole("textbox", { name: "Name" }).fill("fw-3.0.0");
  await page.getByRole("textbox", { name: "Version" }).fill("3.0.0");
  await page.getByRole("spinbutton", { name: "Counter", exact: true }).fill("30");
  await page.getByRole("textbox", { name: "Models" }).fill("KS-100\nKS-200");
  await page.getByLabel("Image").setInputFiles({ name: "ks.img", mimeType: "application/octet-stream", buffer: Buffer.alloc(300_000, 7) });
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Create a draft" }).click();
  await page.getByRole("heading", { name: "fw-3.0.0", level: 1 }).waitFor();
  await page.getByText("There is nothing to verify yet: it has no signature.").waitFor();
  expect(await release("fw-3.0.0")).toMatchObject({ state: "DRAFT", size_bytes: 300_000, models: ["KS-100", "KS-200"], signed: false });
});

it("stages, activates and revokes it, each after a dialog that says what it hits", async () => {
  const { page } = tab;
  await order("Stage…", "Stage it");
  await page.getByText("staged", { exact: true }).waitFor();
  await page.getByText(/^k[0-9a-f]{16}, a key of the server \(online\)$/).waitFor();
  await page.getByText("cannot be verified here").waitFor();
  await expectAccessible(tab);
  await order("Activate…", "Activate it");
  await page.getByText("active", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Roll it out" }).waitFor();
  expect((await release("fw-3.0.0")).state).toBe("ACTIVE");
  await page.getByRole("button", { name: "Revoke…" }).click();
  await page.getByText("No rollout of it is under way.").waitFor();
  const act = page.getByRole("button", { name: "Revoke it" });
  expect(await act.getAttribute("aria-disabled")).toBe("true");
  await page.getByRole("button", { name: "Cancel" }).click();
  await order("Revoke…", "Revoke it", "fw-3.0.0");
  await page.getByText("revoked", { exact: true }).waitFor();
  expect(await release("fw-3.0.0")).toMatchObject({ state: "REVOKED", reason: "tests passed" });
  await expectAccessible(tab);
});

it("takes a manifest that was signed offline, and keeps it if the session ends meanwhile", async () => {
  const { page } = tab;
  await server.call("POST", "/keys/firmware", { public_key: firmwareKey.publicKey, reason: "a test" });
  const file = join(tmpdir(), `${OFFLINE.id}-${process.pid}.toon`);
  writeFileSync(file, `${firmwareKey.manifest(OFFLINE)}\n`);
  await page.goto(`${server.url}/releases`);
  await page.getByRole("link", { name: "fw-3.0.0" }).waitFor();
  await page.getByRole("button", { name: "New release" }).click();
  await page.getByRole("textbox", { name: "Manifest" }).fill("type: something else");
  await page.getByText(/^This is no signed manifest/).waitFor();
  await page.getByLabel("Manifest file").setInputFiles(file);
  await page.getByText(`fw-3.1.0, version 3.1.0, counter 31, signed by ${firmwareKey.keyId}`).waitFor();
  await page.getByLabel("Image").setInputFiles({ name: "other.img", mimeType: "application/octet-stream", buffer: Buffer.from("another image") });
  await page.getByRole("button", { name: "Create a draft" }).click();
  await page.getByText(/^The image is not the one of the manifest/).waitFor();
  await expectAccessible(tab);
  await page.getByLabel("Image").setInputFiles({ name: "ks.img", mimeType: "application/octet-stream", buffer: Buffer.from(OFFLINE.image) });
  await server.endSessions("rita");
  await page.getByRole("button", { name: "Create a draft" }).click();
  await page.getByRole("alertdialog", { name: "Your session has ended" }).waitFor();
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "fw-3.1.0", level: 1 }).waitFor();
  await page.getByText(`${firmwareKey.keyId}, a firmware key (offline)`).waitFor();
  await order("Stage…", "Stage it");
  await order("Activate…", "Activate it");
  expect(await release("fw-3.1.0")).toMatchObject({ state: "ACTIVE", signed: true, key_id: firmwareKey.keyId });
  expectNoComplaints(tab);
});

it("shows the API's own words where it refuses", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/releases`);
  await page.getByRole("button", { name: "New release" }).click();
  await page.getByRole("textbox", { name: "Manifest" }).fill(firmwareKey.manifest({ ...OFFLINE, id: "fw-3.1.1" }));
  await page.getByRole("button", { name: "Create a draft" }).click();
  await page.getByRole("alert").getByText(/counter/).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Cancel" }).click();
});

it("lets other roles look, and no more", async () => {
  const other = await open(browser);
  await logIn(other, server, "vera", "/releases/fw-3.1.0");
  await other.page.getByText("active", { exact: true }).waitFor();
  expect(await other.page.getByRole("button", { name: "Revoke…" }).count()).toBe(0);
  await other.page.goto(`${server.url}/releases`);
  await other.page.getByRole("link", { name: "fw-3.1.0" }).waitFor();
  expect(await other.page.getByRole("button", { name: "New release" }).count()).toBe(0);
  expectNoComplaints(other);
  await other.context.close();
});

it("verifies the signature in a browser that was given the server's key, and says so if an answer was changed", async () => {
  pages = await pagesWith(await publicKeyOf(server.url), server.url);
  const other = await open(browser);
  const { page } = other;
  await page.goto(`${pages.url}/releases/fw-3.1.0`);
  await page.getByLabel("Name").fill("vera");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByText(`${firmwareKey.keyId} has signed exactly this.`, { exact: false }).waitFor();
  await expectAccessible(other);
  await page.route("**/api/releases/fw-3.1.0", async (route) => {
    const answer = await route.fetch();
    const changed = (await answer.json()) as Release;
    await route.fulfill({ response: answer, json: { ...changed, manifest: changed.manifest.replace("release_counter: 31", "release_counter: 99") } });
  });
  await page.reload();
  await page.getByText("its signature is wrong.", { exact: false }).waitFor();
  await expectAccessible(other);
  await other.context.close();
});
