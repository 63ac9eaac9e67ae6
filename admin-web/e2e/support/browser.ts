/** A browser, what tests do in it, and what must hold on every page. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import type { AxeResults } from "axe-core";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { expect } from "vitest";

import { PASSWORD, type Server } from "./server";

/** Debian's; Playwright's own is fetched from elsewhere. */
const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A page that remembers what went wrong in it. */
export interface Tab {
  readonly context: BrowserContext;
  readonly page: Page;
  /** What the browser has complained about: errors of scripts, blocked content. */
  readonly complaints: string[];
}

/** Complaints that a test brings about: the server refuses, or is not there. */
const EXPECTED = [/status of 4\d\d/, /ERR_CONNECTION/, /ERR_INTERNET_DISCONNECTED/, /ERR_EMPTY_RESPONSE/, /ERR_INCOMPLETE_CHUNKED/, /status of 503/];

export async function open(browser: Browser, options: Parameters<Browser["newContext"]>[0] = {}): Promise<Tab> {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin", ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  const note = (text: string) => {
    if (!EXPECTED.some((expected) => expected.test(text))) complaints.push(text);
  };
  page.on("pageerror", (error) => note(`${error.name}: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") note(message.text());
  });
  page.setDefaultTimeout(Number(process.env["PAGE_MS"] ?? 60_000));
  return { context, page, complaints };
}

export async function logIn({ page }: Tab, server: Server, name: string, path = "/"): Promise<void> {
  await page.goto(`${server.url}${path}`);
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("navigation", { name: "Pages" }).waitFor();
}

/** No violation of accessibility rules in what is shown now. */
export async function expectAccessible({ page }: Tab): Promise<void> {
  await page.evaluate(AXE);
  const results = (await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")) as AxeResults;
  const found = results.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  expect(found).toEqual([]);
}

/** The browser had nothing to complain about, such as content that the policy forbids. */
export function expectNoComplaints({ complaints }: Tab): void {
  expect(complaints).toEqual([]);
}
