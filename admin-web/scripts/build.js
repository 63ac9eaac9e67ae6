// Builds the admin web into dist/, with a .gz and a .br next to each file that they make smaller, and prints what a first visit
// loads. The server sends these as they are, and so needs no compression of its own.
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build } from "vite";

const root = new URL("..", import.meta.url).pathname;
const dist = join(root, "dist");

// The folder itself stays, and the file in it that keeps its content out of the repository.
for (const name of readdirSync(dist)) {
  if (name !== ".gitignore") rmSync(join(dist, name), { recursive: true });
}
await build({ root, logLevel: "warn", build: { emptyOutDir: false } });

const kib = (/** @type {number} */ bytes) => `${(bytes / 1024).toFixed(1)} KiB`.padStart(10);
/** @type {Map<string, number>} */
const gzipped = new Map();
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || entry.name === ".gitignore") continue;
  const path = join(entry.parentPath, entry.name);
  const name = path.slice(dist.length + 1);
  const bytes = readFileSync(path);
  const gz = gzipSync(bytes, { level: 9 });
  const br = brotliCompressSync(bytes);
  if (gz.length < bytes.length) writeFileSync(`${path}.gz`, gz);
  if (br.length < bytes.length) writeFileSync(`${path}.br`, br);
  gzipped.set(name, gz.length);
  console.log(`${kib(bytes.length)} plain ${kib(gz.length)} gzip ${kib(br.length)} brotli  ${name}`);
}

/** What a first visit may load, gzipped, before the page that is opened. */
const FIRST_BYTES_MAX = 250 * 1024;
const page = readFileSync(join(dist, "index.html"), "utf8");
const first = [...gzipped].filter(([name]) => name === "index.html" || page.includes(name));
const firstBytes = first.reduce((sum, [, bytes]) => sum + bytes, 0);
console.log(`${kib(firstBytes)} gzip on a first visit`);
if (firstBytes > FIRST_BYTES_MAX) {
  console.error(`a first visit loads more than ${kib(FIRST_BYTES_MAX).trim()}`);
  process.exit(1);
}
