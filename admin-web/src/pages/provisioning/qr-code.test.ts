import decodeQR from "qr/decode.js";
import { describe, expect, it } from "vitest";

import { modulesOf, pathOf } from "./qr-code";

/** What a scanner sees of a path: each module as a square of pixels. */
function pixelsOf(path: string, size: number, scale: number) {
  const data = new Uint8ClampedArray(size * scale * size * scale * 4).fill(255);
  for (const [, x, y, width] of path.matchAll(/M(\d+) (\d+)h(\d+)v1H\d+z/g)) {
    for (let row = Number(y) * scale; row < (Number(y) + 1) * scale; row += 1) {
      const from = (row * size * scale + Number(x) * scale) * 4;
      for (let at = from; at < from + Number(width) * scale * 4; at += 4) data.fill(0, at, at + 3);
    }
  }
  return { width: size * scale, height: size * scale, data };
}

describe("a QR code", () => {
  it("is read back as the token that was drawn", () => {
    const token = "Yn9a4pT-nGe727JQvbmQzIsoMh0AYKnEP9eEhC0wMZ4";
    const modules = modulesOf(token);
    expect(decodeQR(pixelsOf(pathOf(modules), modules.length, 4))).toBe(token);
  });
});
