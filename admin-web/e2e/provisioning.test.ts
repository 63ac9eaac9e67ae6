/**
 * Goal: a factory brings devices into the fleet without a mistake reaching the server: faults are shown by line before anything is
 * imported, tokens are shown once, and a device registers with what was shown.
 * Method: files with faults that the server names too; devices with keys of their own register over the protocol.
 */

import { readFileSync } from "node:fs";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Device as Details } from "../src/api/types";
import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { TestDevice } from "./support/device";
import { Server } from "./support/server";

const HEADER = "serial,device_id,public_key,manufacturer,model,site\n";

let server: Server;
let browser: Browser;
let tab: Tab;
let first: TestDevice;
let second: TestDevice;

beforeAll(async () => {
  server = await Server.start({ OTRT_REQUIRED: "true" });
  await server.makeUser("fabian", "factory");
  first = new TestDevice(server, "KS-000001");
  second = new TestDevice(server, "KS-000002");
  browser = await launch();
  tab = await open(browser);
  await logIn(tab, server, "fabian", "/provisioning");
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

const choose = (text: string) =>
  tab.page.getByLabel("Inventory", { exact: true }).setInputFiles({ name: "inventory.csv", mimeType: "text/csv", buffer: Buffer.from(text) });

/** Line and column of each fault that the page shows. */
async function shownFaults(): Promise<string[][]> {
  const rows = tab.page.getByRole("table").filter({ hasText: "What is wrong" }).locator("tbody tr");
  await rows.first().waitFor();
  return (await rows.all()).reduce(
    async (all, row) => [...(await all), (await row.locator("td").allTextContents()).slice(0, 2)],
    Promise.resolve<string[][]>([]),
  );
}

it("shows the faults of a file by line, the same as the server's, and sends nothing", async () => {
  const { page } = tab;
  await page.getByRole("heading", { name: "Provisioning" }).waitFor();
  await expectAccessible(tab);
  const faulty = `${HEADER}${first.line}S2,2-bad,x,A,M,s\nS3,KS-3,c2hvcnQ=,A,M,s\n,KS-4,x,A,M,s\nS5,KS-5\n${first.line}S7,import,${second.publicKey},A,M,s\n`;
  await choose(faulty);
  await page.getByText("9 faults: nothing can be imported before they are corrected.").waitFor();
  expect(await page.getByRole("button", { name: /^Import/ }).count()).toBe(0);
  const refused = await server.call("POST", "/devices/import", faulty, "text/csv").catch((error: Error) => error.message);
  const { errors } = JSON.parse(/\{.*\}/.exec(String(refused))?.[0] ?? "{}") as { errors: { line: number; field: string }[] };
  expect(await shownFaults()).toEqual(errors.map(({ line, field }) => [String(line), field]));
  await expectAccessible(tab);
  expect((await server.call<{ items: unknown[] }>("GET", "/devices")).items).toEqual([]);
});

it("imports a file without faults, as a spreadsheet writes it", async () => {
  const { page } = tab;
  const rows = `${HEADER}${first.line}${second.line}`.replaceAll(",", ";").replaceAll("\n", "\r\n");
  await choose(`\ufeff${rows}`);
  await page.getByText("2 devices without a fault.").waitFor();
  await page.getByRole("cell", { name: "KS-000002", exact: true }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Import 2 devices" }).click();
  await page.getByText("2 devices were added.").waitFor();
  await expectAccessible(tab);
  expect((await server.call<Details>("GET", "/devices/KS-000002")).status).toBe("WHITELISTED");
});

it("shows by line what only the server can know", async () => {
  const { page } = tab;
  await page.getByRole("button", { name: "Choose another file" }).click();
  const other = new TestDevice(server, "KS-000002");
  await choose(`${HEADER}${first.line}${other.line}`);
  await page.getByRole("button", { name: "Import 2 devices" }).click();
  await page.getByText("The server has refused the file. Nothing was imported.").waitFor();
  expect((await shownFaults()).map(([line]) => line)).toEqual(["3"]);
  await expectAccessible(tab);
  await choose(`${HEADER}${first.line}`);
  await page.getByRole("button", { name: "Import 1 device" }).click();
  await page.getByText("1 device was known already, with the same values.").waitFor();
});

it("makes a token that is shown once, as text and QR code, and a device registers with it", async () => {
  const { page } = tab;
  await page.getByLabel("May be used by").selectOption("one device");
  await page.getByLabel("Device", { exact: true }).fill("KS-000001");
  await page.getByRole("button", { name: "Make tokens" }).click();
  await page.getByText("1 token, shown only now").waitFor();
  const token = (await page.locator(".card code").textContent()) ?? "";
  await page.getByRole("img", { name: `QR code of ${token}` }).waitFor();
  await expectAccessible(tab);

  await expect(first.registers()).rejects.toThrow("OTRT_REQUIRED");
  await expect(second.registers({ otrt: token })).rejects.toThrow("OTRT_INVALID");
  await first.registers({ otrt: token });
  expect((await server.call<Details>("GET", "/devices/KS-000001")).status).toBe("REGISTERED");

  await page.getByRole("link", { name: "Devices", exact: true }).click();
  await page.getByRole("alertdialog", { name: "The tokens are lost if you go" }).waitFor();
  await expectAccessible(tab);
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText(token, { exact: true }).waitFor();
  await page.getByRole("button", { name: "I have kept them" }).click();
  await page.getByRole("button", { name: "Make tokens" }).waitFor();
  expect(await page.getByText(token, { exact: true }).count()).toBe(0);
  await page.getByRole("link", { name: "Devices", exact: true }).click();
  await page.getByRole("row", { name: /KS-000002/ }).getByText("whitelisted").waitFor();
  await expect.poll(() => page.getByRole("row", { name: /KS-000001/ }).textContent()).not.toContain("whitelisted");
});

it("gives a device a new key: the old one is refused, and it registers again", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "KS-000001" }).click();
  await page.getByRole("button", { name: "New key…" }).click();
  const dialog = page.getByRole("alertdialog", { name: "Give KS-000001 a new key" });
  const act = dialog.getByRole("button", { name: "Give it the key" });
  await dialog.getByLabel("Reason").fill("board replaced");
  await dialog.getByLabel("Type KS-000001 to confirm").fill("KS-000001");
  await dialog.getByLabel("New public key").fill("no key");
  await dialog.getByText(/^This is no Ed25519 public key/).waitFor();
  await dialog.getByLabel("New public key").fill(first.publicKey);
  await dialog.getByText("This is the key that it has now.").waitFor();
  expect(await act.getAttribute("aria-disabled")).toBe("true");
  await dialog.getByLabel("New public key").fill(second.publicKey);
  await act.click();
  await dialog.getByRole("alert").getByText(/key/).waitFor();
  await expectAccessible(tab);
  const replaced = new TestDevice(server, "KS-000001");
  await dialog.getByLabel("New public key").fill(replaced.publicKey);
  await act.click();
  await dialog.waitFor({ state: "detached" });
  await page.getByText("whitelisted", { exact: true }).waitFor();
  await page.getByText(replaced.publicKey).waitFor();
  expect(await first.send("/heartbeat", "heartbeat", TestDevice.beat())).not.toContain("type: ");
  const { tokens } = await server.call<{ tokens: string[] }>("POST", "/otrts", { count: 1, ttl_s: 600, device_id: "KS-000001" });
  await replaced.registers({ otrt: tokens[0] ?? "" });
  await replaced.beats();
  expect((await server.call<Details>("GET", "/devices/KS-000001")).status).toBe("REGISTERED");
});

it("keeps what was typed in a form when the session ends, and goes on after the next login", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "Provisioning" }).click();
  await page.getByLabel("Number", { exact: true }).fill("3");
  const { items } = await server.call<{ items: { row: number; kind: string }[] }>("GET", "/tokens?limit=1000");
  for (const { row, kind } of items) if (kind === "SESSION") await server.call("DELETE", `/tokens/${row}`, {});
  await page.getByRole("button", { name: "Make tokens" }).click();
  await page.getByRole("alertdialog", { name: "Your session has ended" }).waitFor();
  await page.getByLabel("Password").fill("correct horse battery");
  await page.keyboard.press("Enter");
  await page.getByText("3 tokens, shown only now").waitFor();
  await page.getByRole("button", { name: "I have kept them" }).click();
});

it("exports what it has imported", async () => {
  const { page } = tab;
  await page.getByLabel("Separator").selectOption("semicolon");
  await page.getByLabel("Site").fill("north");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
  const text = readFileSync(await download.path(), "utf8");
  expect(text.startsWith("\ufeffserial;device_id;public_key;")).toBe(true);
  expect(text).toContain(`S-KS-000001;KS-000001;`);
  expect(text.trim().split("\n")).toHaveLength(3);
  expectNoComplaints(tab);
});
