/**
 * Goal: a rollout is planned, rehearsed, started, approved, paused, resumed and rolled back in the browser, a bad one is seen to be
 * aborted and leads to a hotfix, and simulated devices do what was ordered.
 * Method: one rollout at each of two sites; devices need a minute to install, so that the bad one fails while the good one goes on.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Device, FleetPresence, Plan, Rollout } from "../src/api/types";
import { expectAccessible, expectNoComplaints, launch, logIn, open, type Tab } from "./support/browser";
import { released } from "./support/firmware";
import { type Beating, ROOT, Server } from "./support/server";

let server: Server;
let fleet: Beating;
let browser: Browser;
let tab: Tab;
const folder = mkdtempSync(join(tmpdir(), "ks-admin-rehearsal-"));

beforeAll(async () => {
  server = await Server.start();
  await server.makeUser("rita", "release_manager");
  await server.makeUser("olga", "operator");
  fleet = server.beat("rollouts.toml");
  for (const [version, counter] of [["2.0.0", 11], ["2.1.0", 12], ["2.2.0", 13]] as const) await released(server, version, counter);
  browser = await launch();
  tab = await open(browser, { acceptDownloads: true });
  await logIn(tab, server, "rita", "/rollouts");
});

afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const rollout = (id: string) => server.call<Rollout>("GET", `/rollouts/${id}`);

/** Fills a field of a stage or gate, or of the whole form. */
async function fill(name: string, value: string, group?: string): Promise<void> {
  const { page } = tab;
  const place = group === undefined ? page : page.getByRole("group", { name: group, exact: true });
  await place.getByLabel(name, { exact: true }).fill(value);
}

/** A policy for a handful of devices that are quick. */
async function fillSmallPolicy(): Promise<void> {
  const { page } = tab;
  await fill("Share, %", "25", "Stage 1");
  await fill("Watched for, h", "0", "Stage 1");
  await page.getByRole("group", { name: "Stage 1", exact: true }).getByLabel("Then").selectOption("a person approves");
  await page.getByRole("button", { name: "Remove stage 3" }).click();
  await fill("Share, %", "100", "Stage 2");
  await fill("Watched for, h", "0", "Stage 2");
  await page.getByRole("group", { name: "Stage 2", exact: true }).getByLabel("Then").selectOption("goes on");
  await page.getByRole("button", { name: "Remove gate 2" }).click();
  await fill("Failures allowed, %", "5", "Gate 1");
  await page.getByText("Pace and time limits").click();
  await fill("Out of service at a site, %", "");
  await fill("Confirmed after, min", "0.05");
  await fill("Lost after silence of, min", "4");
  await fill("Watched once complete, h", "0.1");
}

/** Gives an order in its dialog, after what it says that it hits. */
async function order(button: string, hits: RegExp, act: string, typed?: string): Promise<void> {
  const { page } = tab;
  await page.getByRole("button", { name: button }).click();
  const dialog = page.getByRole("alertdialog");
  await dialog.getByText(hits).waitFor();
  await dialog.getByLabel("Reason").fill("seen to it");
  if (typed !== undefined) await dialog.getByLabel(`Type ${typed} to confirm`).fill(typed);
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: act, exact: true }).click();
  await dialog.waitFor({ state: "detached" });
}

it("shows a plan before anything happens", async () => {
  const { page } = tab;
  await page.getByText("Nothing has been rolled out yet.").waitFor();
  await expect.poll(async () => (await server.call<FleetPresence>("GET", "/presence")).total.online).toBe(24);
  await expectAccessible(tab);
  await page.getByRole("link", { name: "New rollout" }).click();
  await page.getByLabel("Release", { exact: true }).selectOption("fw-2.0.0 (2.0.0)");
  await fill("Name", "spring");
  await fill("Reason", "readers lose cards");
  await page.getByLabel("the whole fleet").uncheck();
  await page.getByLabel("Site", { exact: true }).selectOption("berlin");
  await fill("Share, %", "10", "Stage 2");
  await page.getByRole("button", { name: "Plan it" }).click();
  // Shares only grow, and the server says so.
  await page.getByRole("alert").getByText("Stage 2, Share, %: expected more than 15 %, the share of the stage before, got 10 %").waitFor();
  await expectAccessible(tab);
  await fillSmallPolicy();
  await page.getByText("Roll back to").waitFor();
  await page.getByLabel("Roll back to").selectOption("fw-2.2.0");
  await page.getByRole("button", { name: "Plan it" }).click();
  await page.getByText("12 devices would get fw-2.0.0.").waitFor();
  await page.getByText(/^It takes .* at least, and .* as expected/).waitFor();
  await page.getByText(/^with \d+ devices and raw ≤ 5 %/).waitFor();
  await expect.poll(() => page.locator(".uplot canvas").count()).toBe(1);
  await expectAccessible(tab);
  expect((await server.call<{ items: Rollout[] }>("GET", "/rollouts")).items).toEqual([]);
});

it("writes the plan as a scenario that ks-fleet accepts, and shows a finished run beside it", async () => {
  const { page } = tab;
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download the scenario" }).click(),
  ]);
  const scenario = join(folder, download.suggestedFilename());
  expect(download.suggestedFilename()).toBe("spring.toml");
  await download.saveAs(scenario);
  await page.getByText("ks-fleet rehearse spring.toml --out spring").waitFor();
  const run = (...options: string[]) => spawnSync(join(ROOT, "target/debug/ks-fleet"), options, { cwd: folder, encoding: "utf8" });
  const checked = run("check", scenario);
  expect(checked.stdout + checked.stderr).toContain("spring is sound");
  const rehearsed = run("rehearse", scenario, "--signatures", "modelled", "--events", "none", "--out", "spring");
  expect(rehearsed.status, rehearsed.stdout + rehearsed.stderr).toBe(0);
  await page.getByLabel("A finished run").setInputFiles({ name: "other.json", mimeType: "application/json", buffer: Buffer.from("[]") });
  await page.getByText("This is no summary.json of a run.").waitFor();
  await page.getByLabel("A finished run").setInputFiles(join(folder, "spring", "summary.json"));
  await page.getByRole("row", { name: /^Verdict/ }).getByText("pass").waitFor();
  await page.getByRole("row", { name: "Devices 12 12" }).waitFor();
  await page.getByRole("row", { name: "Really broken 0" }).waitFor();
  await expectAccessible(tab);
});

it("starts what was planned, after its name was typed", async () => {
  const { page } = tab;
  await page.getByRole("button", { name: "Start…" }).click();
  await page.getByRole("alertdialog").getByText(/^3 devices are offered fw-2\.0\.0 at once/).waitFor();
  const act = page.getByRole("button", { name: "Start the rollout" });
  expect(await act.getAttribute("aria-disabled")).toBe("true");
  await page.getByLabel("Type spring to confirm").fill("spring");
  await expectAccessible(tab);
  await act.click();
  await page.getByRole("heading", { name: "spring", level: 1 }).waitFor();
  await page.getByText("running", { exact: true }).waitFor();
  expect(await rollout("spring")).toMatchObject({ targets: 12, status: "RUNNING" });
});

it("shows a bad release being stopped by its gate, with the devices and the reason, and leads to a hotfix", async () => {
  const { page } = tab;
  const policy = {
    stages: [{ share_bp: 5_000, min_executed: 3, bake_s: 0 }, { share_bp: 10_000, min_executed: 3, bake_s: 0 }],
    gates: [{ threshold_bp: 1_000, min_executed: 3, test: { kind: "raw" }, action: "abort" }],
    confirm_window_s: 3,
    lost_after_s: 240,
  };
  const spec = { rollout_id: "summer", release_id: "fw-2.1.0", which: { site: "lyon" }, policy, reason: "a test" };
  expect((await server.call<{ plan: Plan }>("POST", "/rollouts", spec)).plan.targets).toBe(12);
  await page.goto(`${server.url}/rollouts`);
  await page.getByRole("link", { name: "summer" }).click();
  await page.getByText("aborted", { exact: true }).first().waitFor({ timeout: 120_000 });
  await page.getByRole("region", { name: "Gates" }).getByText("fails", { exact: true }).waitFor();
  await page.getByRole("region", { name: "Decisions" }).getByText(/executed devices? failed/).first().waitFor();
  await expect.poll(() => page.getByRole("region", { name: "Outcomes over time" }).locator("canvas").count()).toBe(1);
  await expectAccessible(tab);
  await page.getByLabel("State", { exact: true }).selectOption("failed");
  await page.waitForURL("**/rollouts/summer?state=FAILED");
  await page.getByRole("region", { name: "Devices", exact: true }).getByText("install_failed").first().waitFor();
  await page.getByRole("link", { name: "Hotfix for these devices" }).click();
  await page.getByRole("heading", { name: "Hotfix" }).waitFor();
  await expect.poll(() => page.getByLabel("Begin with").inputValue()).toBe("hotfix");
  await expect.poll(() => page.getByLabel("Runs the version").inputValue()).toBe("2.1.0");
  await expectAccessible(tab);
  await fill("Name", "summer");
  await fill("Reason", "a name that is taken");
  await page.getByRole("button", { name: "Plan it" }).click();
  await page.getByRole("alert").getByText("There is a rollout summer already: choose another name.").waitFor();
});

it("asks for an approval, and says how many devices are next", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/rollouts/spring`);
  await page.getByText("waits for approval", { exact: true }).waitFor({ timeout: 180_000 });
  await page.getByRole("region", { name: "Gates" }).getByText("passes", { exact: true }).waitFor();
  await expectAccessible(tab);
  await order("Pause…", /^9 devices without an offer wait\./, "Pause");
  await page.getByText("paused", { exact: true }).first().waitFor();
  await order("Resume…", /^This stage goes on/, "Resume");
  await order("Approve…", /^Stage 2 begins: the release is offered to another 9 devices, 100% of all in total\./, "Approve");
  await expect.poll(async () => (await rollout("spring")).stage).toBe(1);
  const { items } = await server.call<{ items: { device_id: string }[] }>("GET", "/rollouts/spring/updates?state=CONFIRMED");
  const device = await server.call<Device>("GET", `/devices/${items[0]?.device_id}`);
  expect(device.firmware_version).toBe("2.0.0");
});

it("refuses an approval of what has changed since it was seen", async () => {
  const { page } = tab;
  await page.goto(`${server.url}/rollouts/spring`);
  await server.call("POST", "/rollouts/spring/pause", { reason: "another person" });
  await page.getByRole("button", { name: "Resume…" }).click();
  const { stage, revision } = await rollout("spring");
  await server.call("POST", "/rollouts/spring/resume", { reason: "a third person", stage, revision });
  await server.call("POST", "/rollouts/spring/pause", { reason: "a fourth" });
  const dialog = page.getByRole("alertdialog");
  await dialog.getByLabel("Reason").fill("seen to it");
  await dialog.getByRole("button", { name: "Resume", exact: true }).click();
  await dialog.getByText(/the order to resume refers to `stage` 1 and `revision` \d+, but/).waitFor();
  await expect.poll(() => dialog.getByLabel("Reason").inputValue()).toBe("seen to it");
  await expectAccessible(tab);
  await dialog.getByRole("button", { name: "Cancel" }).click();
});

it("rolls back, and devices take the release that it goes back to", async () => {
  const { page } = tab;
  await order("Roll back…", /that took the release gets? fw-2\.2\.0, all in one stage\./, "Abort and roll back", "spring");
  await page.getByText("aborted", { exact: true }).first().waitFor();
  await page.goto(`${server.url}/rollouts`);
  await page.getByRole("link", { name: "spring-back" }).click();
  await page.getByRole("heading", { name: "spring-back" }).waitFor();
  const begun = async () => {
    const { updates } = await rollout("spring-back");
    return ["DOWNLOADING", "INSTALLING", "CONFIRMING", "CONFIRMED"].some((state) => (updates[state] ?? 0) > 0);
  };
  await expect.poll(begun).toBe(true);
  expectNoComplaints(tab);
});

it("lets operators stop, and not go on", async () => {
  const other = await open(browser, { locale: "de-DE" });
  await other.page.goto(`${server.url}/rollouts/spring-back`);
  await other.page.getByLabel("Name").fill("olga");
  await other.page.getByLabel("Passwort").fill("correct horse battery");
  await other.page.keyboard.press("Enter");
  await other.page.getByRole("button", { name: "Pausieren …" }).click();
  const dialog = other.page.getByRole("alertdialog");
  await dialog.getByLabel("Grund").fill("das Lager ruft an");
  await dialog.getByRole("button", { name: "Pausieren", exact: true }).click();
  await dialog.waitFor({ state: "detached" });
  await other.page.getByText("pausiert", { exact: true }).first().waitFor();
  expect(await other.page.getByRole("button", { name: "Fortsetzen …" }).count()).toBe(0);
  expect((await rollout("spring-back")).status).toBe("PAUSED");
  await expectAccessible(other);
  await other.context.close();
});
