import { defineConfig } from "vitest/config";

/** The end-to-end tests: each file starts the real server, simulated devices and a browser, one file after the other. */
export default defineConfig({
  test: {
    include: ["e2e/**/*.test.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
