import { describe, expect, it } from "vitest";

import { isOutdated } from "./stale-page";

const page = (script: string) => `<!doctype html><div id="root"></div><script type="module" crossorigin src="${script}"></script>`;

describe("a tab", () => {
  it("is outdated once the server's page has another script", () => {
    expect(isOutdated(page("/assets/index-1.js"), "/assets/index-1.js")).toBe(false);
    expect(isOutdated(page("/assets/index-2.js"), "/assets/index-1.js")).toBe(true);
  });

  it("is not outdated by what is no page of the server", () => {
    expect(isOutdated("<h1>502 Bad Gateway</h1>", "/assets/index-1.js")).toBe(false);
    expect(isOutdated(page("/src/main.tsx"), "")).toBe(false);
  });
});
