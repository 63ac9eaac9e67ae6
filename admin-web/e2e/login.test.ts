/**
 * Goal: people log in, see what their role may see, and lose nothing when their session ends.
 * Method: a real browser against the real server; sessions are ended on the server while a form is open.
 */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import { expectAccessible, expectNoComplaints, launch, logIn, open } from "./support/browser";
import { PASSWORD, Server } from "./support/server";

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("anna", "operator");
  await server.makeUser("fabian", "factory");
  await server.import([{ serial: "S-1", device_id: "KS-000001" }]);
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

it("refuses a wrong password in words, and keeps the name", async () => {
  const tab = await open(browser);
  const { page } = tab;
  await page.goto(server.url);
  await expect.poll(() => page.title()).toBe("Log in · KS Attendance");
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("Enter a name and a password.").waitFor();
  await page.getByLabel("Name").fill("anna");
  await page.getByLabel("Password").fill("a wrong password");
  await page.keyboard.press("Enter");
  await page.getByText("The name or the password is wrong.").waitFor();
  await expectAccessible(tab);
  await expect.poll(() => page.getByLabel("Name").inputValue()).toBe("anna");
  expect(await page.getByLabel("Name").getAttribute("autocomplete")).toBe("username");
  expect(await page.getByLabel("Password").getAttribute("autocomplete")).toBe("current-password");
  expectNoComplaints(tab);
  await tab.context.close();
});

it("leads to the page that was asked for, and out again", async () => {
  const tab = await open(browser);
  const { page } = tab;
  await logIn(tab, server, "anna", "/devices?search=KS");
  await page.getByRole("link", { name: "KS-000001" }).waitFor();
  await page.reload();
  await page.getByRole("link", { name: "KS-000001" }).waitFor();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Password").waitFor();
  await page.reload();
  await page.getByLabel("Password").waitFor();
  expectNoComplaints(tab);
  await tab.context.close();
});

it("shows each role its pages", async () => {
  const tab = await open(browser);
  const { page } = tab;
  await logIn(tab, server, "fabian");
  await page.getByRole("heading", { name: "Devices" }).waitFor();
  const names = await page.getByRole("navigation", { name: "Pages" }).getByRole("link").allTextContents();
  expect(names).toEqual(["Devices", "Provisioning"]);
  await page.getByRole("link", { name: "KS-000001" }).click();
  await page.getByText("Public key").waitFor();
  expect(await page.getByRole("button", { name: "Edit" }).count()).toBe(0);
  await expectAccessible(tab);
  expectNoComplaints(tab);
  await tab.context.close();
});

it("keeps what was typed when the session ends, and saves it after the next login", async () => {
  const tab = await open(browser);
  const { page } = tab;
  await logIn(tab, server, "anna", "/devices/KS-000001");
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByRole("textbox", { name: "Labels" }).fill("front door\npilot");
  await server.endSessions("anna");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("alertdialog", { name: "Your session has ended" }).waitFor();
  await expectAccessible(tab);
  await expect.poll(() => page.getByLabel("Name").inputValue()).toBe("anna");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByText("front door", { exact: true }).waitFor();
  const device = await server.call<{ labels: string[] }>("GET", "/devices/KS-000001");
  expect(device.labels).toEqual(["front door", "pilot"]);
  expectNoComplaints(tab);
  await tab.context.close();
});

it("speaks German where the browser does, and remembers another choice", async () => {
  const tab = await open(browser, { locale: "de-DE" });
  const { page } = tab;
  await page.goto(server.url);
  await page.getByLabel("Passwort").waitFor();
  await page.getByLabel("Name").fill("anna");
  await page.getByLabel("Passwort").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Flotte" }).waitFor();
  await expect.poll(() => page.getAttribute("html", "lang")).toBe("de");
  await expectAccessible(tab);
  await page.getByLabel("Sprache").selectOption("English");
  await page.getByRole("heading", { name: "Fleet" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "Fleet" }).waitFor();
  expectNoComplaints(tab);
  await tab.context.close();
});
