import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds the API: a ks-server on this machine. */
const server = process.env["KS_SERVER"] ?? "http://127.0.0.1:3000";

export default defineConfig({
  plugins: [react()],
  // The name is given by the hosts that people deploy static pages to.
  envPrefix: ["NEXT_PUBLIC_", "SERVER_PUBLIC_KEY_"],
  build: {
    target: "es2022",
    // The content policy allows no `data:` URLs; small files are files too.
    assetsInlineLimit: 0,
    reportCompressedSize: false, // scripts/build.js prints the sizes
  },
  // Pages also read the keyset that devices read, to verify what is signed.
  server: { proxy: Object.fromEntries(["/api", "/keys"].map((path) => [path, { target: server, changeOrigin: false }])) },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
