// Writes a .gz and a .br next to each built file that gets smaller, and prints what a first visit loads.
// The server sends these as they are, and so needs no compression of its own.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const dist = new URL("../dist/", import.meta.url).pathname;
const kib = (/** @type {number} */ bytes) => `${(bytes / 1024).toFixed(1)} KiB`.padStart(11);

/** @type {Map<string, number>} */
const gzipped = new Map();
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || /\.(gz|br)$/.test(entry.name)) continue;
  const path = join(entry.parentPath, entry.name);
  const bytes = readFileSync(path);
  const gz = gzipSync(bytes, { level: 9 });
  const br = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
  if (gz.length < bytes.length) writeFileSync(`${path}.gz`, gz);
  if (br.length < bytes.length) writeFileSync(`${path}.br`, br);
  gzipped.set(path.slice(dist.length), gz.length);
  console.log(kib(bytes.length), kib(gz.length), kib(br.length), path.slice(dist.length));
}

const page = readFileSync(join(dist, "index.html"), "utf8");
const first = [...gzipped].filter(([name]) => name === "index.html" || page.includes(name));
console.log(`first load: ${kib(first.reduce((sum, [, bytes]) => sum + bytes, 0)).trim()} gzip`);
