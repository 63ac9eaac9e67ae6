import { describe, expect, it } from "vitest";

import { de } from "./de";
import { en } from "./en";
import { pick } from "./language";

/** Paths of all texts. */
function keys(texts: object, path = ""): string[] {
  return Object.entries(texts).flatMap(([key, text]) =>
    typeof text === "object" && text !== null ? keys(text as object, `${path}${key}.`) : [`${path}${key}`],
  );
}

describe("languages", () => {
  it("have the same texts", () => {
    expect(keys(de)).toEqual(keys(en));
  });

  it("have no empty text", () => {
    const texts = JSON.stringify([en, de]);
    expect(texts).not.toContain('""');
  });

  it("are picked by what the browser prefers, or English", () => {
    expect(pick(["fr-FR", "de-CH", "en"])).toBe("de");
    expect(pick(["fr"])).toBe("en");
    expect(pick([])).toBe("en");
  });
});
