// Fails if a package of package-lock.json has a licence that nobody has agreed to.
import { readFileSync } from "node:fs";

const AGREED = ["MIT", "ISC", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Unlicense", "CC0-1.0", "BlueOak-1.0.0", "Python-2.0"];
/** Used to build and to test only, and unchanged: no part of what is served. */
const AGREED_FOR_TOOLS = [...AGREED, "MPL-2.0", "CC-BY-4.0"];

/** @type {{ packages: Record<string, { license?: string, dev?: boolean }> }} */
const { packages } = JSON.parse(readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"));
const wrong = Object.entries(packages).filter(([path, { license = "none", dev = false }]) => {
  const choices = license.replace(/[()]/g, "").split(" OR ");
  return path !== "" && !choices.some((choice) => (dev ? AGREED_FOR_TOOLS : AGREED).includes(choice));
});
for (const [path, { license }] of wrong) console.error(`${path}: ${license}`);
if (wrong.length > 0) process.exit(1);
console.log(`${Object.keys(packages).length - 1} packages, every licence is agreed to`);
