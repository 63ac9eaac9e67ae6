/**
 * Goal: everything that matters is done without a mouse: a person always sees where the focus is, never loses it, and after a dialog is
 * back at what opened it.
 * Method: Tab, Enter, Space and letters only, on a running server with simulated devices; each stop is looked at.
 */

import type { Browser, Locator } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Command, FleetPresence, LimitsStatus, Release, Rollout } from "../src/api/types";
import { expectNoComplaints, launch, open, type Tab } from "./support/browser";
import { released } from "./support/firmware";
import { Keyboard } from "./support/keyboard";
import { type Beating, PASSWORD, Server } from "./support/server";

let server: Server;
let fleet: Beating;
let browser: Browser;
let tab: Tab;
let keyboard: Keyboard;

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("ada", "admin");
  fleet = server.beat("rollouts.toml");
  await released(server, "2.0.0", 11);
  browser = await launch();
  tab = await open(browser);
  // Nothing is looked at on its way to its place.
  await tab.page.emulateMedia({ reducedMotion: "reduce" });
  keyboard = new Keyboard(tab.page);
});

afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
  await server?.stop();
});

const link = (name: string | RegExp) => tab.page.getByRole("link", { name, exact: true });
const button = (name: string | RegExp, within: Locator = tab.page.locator("body")) => within.getByRole("button", { name, exact: true });
const dialog = () => tab.page.getByRole("alertdialog");
const main = () => tab.page.locator("#main");
const nav = (name: string) => tab.page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name, exact: true });

/** Goes to a page of the navigation, which is before the content. */
async function visit(name: string): Promise<void> {
  await keyboard.to(nav(name), "Shift+Tab");
  await keyboard.press("Enter");
  await tab.page.getByRole("heading", { name, level: 1 }).waitFor();
  await keyboard.arrives(main());
}

it("logs in, skips the navigation, finds a device and opens it", async () => {
  const { page } = tab;
  await page.goto(server.url);
  await keyboard.arrives(page.getByLabel("Name"));
  await keyboard.type("ada");
  await expect.poll(async () => (await server.call<FleetPresence>("GET", "/presence")).total.online).toBe(24);
  await keyboard.fill(page.getByLabel("Password"), PASSWORD);
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Fleet" }).waitFor();
  await keyboard.to(nav("Devices"));
  await keyboard.press("Enter");
  await keyboard.arrives(main());
  await page.getByRole("link", { name: /^WEB-/ }).first().waitFor();
  // Over the navigation at once, from the head of the page.
  await keyboard.to(link("Skip to the content"), "Shift+Tab");
  await keyboard.press("Enter");
  await keyboard.fill(page.getByLabel("Search"), "web-000007");
  await page.getByText("1 device", { exact: true }).waitFor();
  await keyboard.activate(link("WEB-000007"));
  await page.getByRole("heading", { name: "WEB-000007" }).waitFor();
  await keyboard.arrives(main());
  await keyboard.to(page.getByRole("tab", { selected: true }));
  await keyboard.press("ArrowRight");
  await keyboard.arrives(page.getByRole("tab", { selected: true }));
});

it("edits the device, and is back at the button after the dialog", async () => {
  const { page } = tab;
  await keyboard.to(button("Edit"), "Shift+Tab");
  await keyboard.press("Enter");
  await keyboard.arrives(page.getByRole("dialog").getByLabel("Site"));
  await keyboard.press("Escape");
  await keyboard.arrives(button("Edit"));
  await keyboard.press("Enter");
  await keyboard.fill(page.getByRole("dialog").getByLabel("Labels"), "by the door");
  await keyboard.activate(button("Save", page.getByRole("dialog")));
  await page.getByText("by the door").waitFor();
  await keyboard.arrives(button("Edit"));
});

it("orders a command by a selection, with its number typed", async () => {
  const { page } = tab;
  await visit("Commands");
  await keyboard.activate(link("Order a command"));
  await keyboard.arrives(main());
  await keyboard.choose(page.getByRole("combobox", { name: "Site" }), "berlin");
  await page.getByText("12 devices get the command, each with its next heartbeat.").waitFor();
  await keyboard.choose(page.getByRole("combobox", { name: "Command" }), "reboot");
  await keyboard.activate(button("Order…"));
  await keyboard.arrives(dialog().getByLabel("Type 12 to confirm"));
  // Round and round in the dialog, and not out of it.
  await keyboard.to(button("Cancel", dialog()));
  await keyboard.to(dialog().getByLabel("Type 12 to confirm"));
  await keyboard.press("Escape");
  await keyboard.arrives(button("Order…"));
  await keyboard.press("Enter");
  await keyboard.arrives(dialog().getByLabel("Type 12 to confirm"));
  await keyboard.type("12");
  await keyboard.press("Enter");
  await page.waitForURL("**/commands/orders/*");
  await keyboard.arrives(main());
  const order = page.url().split("/").at(-1) ?? "";
  expect((await server.call<{ items: Command[] }>("GET", `/commands?order_id=${order}`)).items.length).toBe(12);
});

it("plans a rollout, starts it, pauses it, lets it go on and aborts it", async () => {
  const { page } = tab;
  const rollout = () => server.call<Rollout>("GET", "/rollouts/spring");
  await visit("Rollouts");
  await keyboard.activate(link("New rollout"));
  await keyboard.arrives(main());
  await keyboard.choose(page.getByLabel("Release", { exact: true }), "fw-2.0.0");
  await keyboard.fill(page.getByLabel("Name", { exact: true }), "spring");
  await keyboard.fill(page.getByLabel("Reason", { exact: true }), "readers lose cards");
  await keyboard.activate(page.getByLabel("the whole fleet"), "Space");
  await keyboard.choose(page.getByLabel("Site", { exact: true }), "berlin");
  // What is removed was under the focus.
  await keyboard.activate(button("Remove gate 2"));
  await keyboard.arrives(main());
  await keyboard.activate(button("Plan it"));
  await page.getByText("12 devices would get fw-2.0.0.").waitFor();
  await keyboard.activate(button("Start…"));
  await keyboard.arrives(dialog().getByLabel("Type spring to confirm"));
  await keyboard.type("spring");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "spring", level: 1 }).waitFor();
  await keyboard.arrives(main());
  for (const [name, act, status] of [["Pause…", "Pause", "PAUSED"], ["Resume…", "Resume", "RUNNING"]] as const) {
    await keyboard.activate(button(name));
    await keyboard.arrives(dialog().getByLabel("Reason"));
    await keyboard.type("seen to it");
    await keyboard.activate(button(act, dialog()));
    await expect.poll(async () => (await rollout()).status).toBe(status);
    // The button is gone with the order that it gave.
    await keyboard.arrives(main());
  }
  await keyboard.activate(button("Abort…"));
  await keyboard.arrives(dialog().getByLabel("Reason"));
  await keyboard.type("enough");
  await keyboard.fill(dialog().getByLabel("Type spring to confirm"), "spring");
  await keyboard.press("Enter");
  await page.getByText("aborted", { exact: true }).first().waitFor();
  await keyboard.arrives(main());
  expect((await rollout()).status).toBe("ABORTED");
});

it("revokes devices of a model, with a reason and the model typed", async () => {
  const { page } = tab;
  await visit("Revoke devices");
  await keyboard.choose(page.getByRole("combobox", { name: "Model" }), "KS-200");
  await page.getByRole("status").getByText(/^3 devices/).waitFor();
  await keyboard.activate(button("Revoke…"));
  await keyboard.arrives(dialog().getByLabel("Reason"));
  await keyboard.type("stolen");
  const typed = dialog().getByLabel(/^Type .* to confirm$/);
  await keyboard.to(typed);
  await keyboard.type((await typed.evaluate((field) => (field as HTMLInputElement).labels?.[0]?.textContent ?? "")).split(" ")[1] ?? "");
  await keyboard.press("Enter");
  await page.getByText("3 devices revoked.").waitFor();
  await keyboard.arrives(button("Revoke…"));
});

it("uploads a release, and applies limits", async () => {
  const { page } = tab;
  await visit("Releases");
  await keyboard.activate(button("New release"));
  const form = page.getByRole("dialog");
  await keyboard.choose(form.getByLabel("Signed by"), "the server");
  await keyboard.fill(form.getByRole("textbox", { name: "Name" }), "fw-3.0.0");
  await keyboard.fill(form.getByRole("textbox", { name: "Version" }), "3.0.0");
  await keyboard.fill(form.getByRole("textbox", { name: "Models" }), "KS-100");
  await keyboard.to(form.getByLabel("Image"));
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), keyboard.press("Enter")]);
  await chooser.setFiles({ name: "ks.img", mimeType: "application/octet-stream", buffer: Buffer.alloc(100_000, 7) });
  await keyboard.activate(button("Create a draft", form));
  await page.getByRole("heading", { name: "fw-3.0.0", level: 1 }).waitFor();
  await keyboard.arrives(main());
  expect((await server.call<Release>("GET", "/releases/fw-3.0.0")).state).toBe("DRAFT");

  await visit("Rate limits");
  await keyboard.activate(button("Change…"));
  await keyboard.arrives(dialog().getByLabel("Limits file"));
  await keyboard.fill(dialog().getByLabel("Limits file"), "[address_logins]\nburst = 11\n");
  await keyboard.activate(button("Apply", dialog()));
  await keyboard.arrives(button("Change…"));
  expect((await server.call<LimitsStatus>("GET", "/limits")).document).toContain("burst = 11");
});

it("logs out, and was never lost", async () => {
  const { page } = tab;
  await keyboard.to(button("Log out"), "Shift+Tab");
  await keyboard.press("Enter");
  await keyboard.arrives(page.getByLabel("Name"));
  expect(keyboard.wrong).toEqual([]);
  expectNoComplaints(tab);
});
