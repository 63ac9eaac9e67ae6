/**
 * Goal: names that a factory or a device has chosen, however long, leave room for everything else, and people see only pages that they
 * can use.
 * Method: a device with the longest names that the server takes, looked at on a desktop and on a phone; a viewer who was sent addresses.
 */

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import { expectAccessible, expectNoComplaints, launch, logIn, open } from "./support/browser";
import { TestDevice } from "./support/device";
import { Server } from "./support/server";

const ID = `KS-${"L".repeat(61)}`;
const SITE = `site-${"x".repeat(100)}`;
const PHONE = { viewport: { width: 390, height: 844 } };

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("olga", "admin");
  await server.makeUser("vera", "viewer");
  const device = await TestDevice.registered(server, { serial: "S".repeat(64), device_id: ID, site: SITE, model: "M".repeat(60) });
  await device.beats();
  await server.call("POST", "/commands", { which: { all: true }, command: { kind: "fetch_logs", argument: {} }, ttl_s: 3_600 });
  browser = await launch();
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

/** How much wider the page is than its window, in pixels. */
const tooWide = (page: Page) => page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");

for (const [name, options] of [["desktop", {}], ["phone", PHONE]] as const) {
  it(`leaves room beside long names on a ${name}`, async () => {
    const tab = await open(browser, options);
    const { page } = tab;
    await logIn(tab, server, "olga", "/fleet");
    const online = page.getByRole("row", { name: SITE }).getByRole("cell").nth(1);
    await online.waitFor();
    const box = await online.boundingBox();
    expect(box === null ? undefined : box.x + box.width).toBeLessThan(page.viewportSize()?.width ?? 0);
    for (const path of ["/fleet", `/devices/${ID}`, `/devices/${ID}/investigate`, "/commands", `/revocation?device_ids=${ID}`]) {
      await page.goto(`${server.url}${path}`);
      await page.getByText(/L{61}|x{100}/).first().waitFor({ state: "attached" });
      expect(await tooWide(page), path).toBe(0);
    }
    expectNoComplaints(tab);
    await tab.context.close();
  });
}

it("shows on a phone which page it is", async () => {
  const tab = await open(browser, PHONE);
  const { page } = tab;
  await logIn(tab, server, "olga", "/audit");
  const inView = async (name: string) => {
    const box = await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name, exact: true }).boundingBox();
    const middle = box === null ? -1 : box.x + box.width / 2;
    return middle > 0 && middle < PHONE.viewport.width;
  };
  await expect.poll(() => inView("Audit")).toBe(true);
  await page.getByRole("link", { name: "KS Attendance" }).click();
  await expect.poll(() => inView("Fleet")).toBe(true);
  await tab.context.close();
});

it("says to a viewer that a page is not for viewers, before anything is typed", async () => {
  const tab = await open(browser);
  const { page } = tab;
  await logIn(tab, server, "vera");
  for (const path of ["/rollouts/plan", "/provisioning", "/server-keys/compromised", "/users", "/audit", "/commands/new", "/revocation"]) {
    await page.goto(`${server.url}${path}`);
    await page.getByText("Your role is viewer.").waitFor();
    expect(await page.getByRole("main").getByRole("button").count(), path).toBe(0);
  }
  await expectAccessible(tab);
  expectNoComplaints(tab);
  await tab.context.close();
});

it("keeps the dialog of a new token until its secret is there", async () => {
  const tab = await open(browser);
  const { page } = tab;
  await logIn(tab, server, "olga", "/users?tab=tokens");
  let send: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (send = resolve));
  await page.route("**/api/tokens", async (route) => {
    if (route.request().method() === "POST") await held;
    await route.continue();
  });
  await page.getByRole("button", { name: "New token…" }).click();
  await page.getByLabel("Name").fill("ci");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("button", { name: "Working…" }).waitFor();
  await page.keyboard.press("Escape");
  send();
  await expect.poll(() => page.getByLabel("Token", { exact: true }).inputValue()).toMatch(/^ks/);
  expectNoComplaints(tab);
  await tab.context.close();
});
