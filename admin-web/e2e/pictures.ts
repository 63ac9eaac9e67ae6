/** Takes the pictures of the documentation: the main pages in light, dark and phone width, with simulated devices. `cargo xtask web pictures`. */

import { mkdirSync } from "node:fs";

import { it } from "vitest";

import { launch, logIn, open } from "./support/browser";
import { released } from "./support/firmware";
import { TestDevice } from "./support/device";
import { ROOT, Server } from "./support/server";

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const FOLDER = `${ROOT}docs/pictures/admin-web`;

const LOOKS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 } },
} as const;

const PAGES = {
  fleet: "/fleet",
  devices: "/devices",
  device: "/devices/WEB-000007?tab=commands",
  releases: "/releases",
  rollout: "/rollouts/spring",
  investigate: "/devices/KS-900002/investigate",
  order: "/commands/new?site=berlin",
  revocation: "/revocation?label=spare",
} as const;

/** A rollout that has its first outcomes when the pictures are taken. */
async function rollOut(server: Server): Promise<void> {
  const release_id = await released(server, "2.0.0", 11);
  await released(server, "2.1.0", 12);
  const policy = {
    stages: [
      { share_bp: 3_000, min_executed: 6, bake_s: 3_600, approval: "manual" },
      { share_bp: 10_000, min_executed: 10, bake_s: 3_600 },
    ],
    gates: [{ threshold_bp: 500, min_executed: 6, test: { kind: "raw" }, action: "abort" }],
    confirm_window_s: 3,
  };
  await server.call("POST", "/rollouts", { rollout_id: "spring", release_id, which: { all: true }, policy, reason: "readers lose cards" });
}

/** How long devices beat before they are shown, so that their plots have something in them. */
const BEATEN_MS = 60_000;

it("takes the pictures", async () => {
  mkdirSync(FOLDER, { recursive: true });
  const server = await Server.start();
  const fleet = server.beat("two-sites.toml");
  const browser = await launch();
  try {
    await server.makeUser("olga", "admin");
    await server.import([{ serial: "S-9001", device_id: "KS-900001", site: "depot" }]);
    await server.call("PATCH", "/devices/KS-900001", { labels: ["spare"] });
    await wait(BEATEN_MS / 2);
    await rollOut(server);
    // A device that falls silent after its first heartbeat.
    const silent = await TestDevice.registered(server, { serial: "S-9002", device_id: "KS-900002", site: "depot" }, "1.30");
    await silent.beats({ firmwareVersion: "1.30" });
    await silent.logs(["reader does not answer: timeout", "link is down"]);
    await wait(BEATEN_MS);
    for (const [look, options] of Object.entries(LOOKS)) {
      const tab = await open(browser, { ...options, deviceScaleFactor: 1 });
      await tab.page.goto(server.url);
      await tab.page.getByLabel("Password").waitFor();
      await tab.page.screenshot({ path: `${FOLDER}/login-${look}.png` });
      await logIn(tab, server, "olga");
      for (const [name, path] of Object.entries(PAGES)) {
        await tab.page.goto(`${server.url}${path}`);
        await wait(6_000); // a rate needs two answers
        await tab.page.screenshot({ path: `${FOLDER}/${name}-${look}.png`, fullPage: true });
      }
      await tab.context.close();
    }
  } finally {
    await browser.close();
    await fleet.stop();
    await server.stop();
  }
}, 600_000);
