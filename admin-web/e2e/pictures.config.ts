import { defineConfig } from "vitest/config";

/** The pictures are taken like a test is run. */
export default defineConfig({ test: { include: ["e2e/pictures.ts"], environment: "node" } });
