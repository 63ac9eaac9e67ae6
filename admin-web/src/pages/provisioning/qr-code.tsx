/** A text as a QR code: one path, black on white in light and in dark. */

import encodeQR from "qr";

/** The path of the dark modules, run by run. */
export function pathOf(modules: readonly (readonly boolean[])[]): string {
  let path = "";
  modules.forEach((row, y) => {
    for (let x = 0; x < row.length; x += 1) {
      if (!row[x]) continue;
      let end = x;
      while (row[end]) end += 1;
      path += `M${x} ${y}h${end - x}v1H${x}z`;
      x = end;
    }
  });
  return path;
}

export function modulesOf(text: string): boolean[][] {
  return encodeQR(text, "raw", { ecc: "medium", border: 4 });
}

export function QrCode({ text, name }: { text: string; name: string }) {
  const modules = modulesOf(text);
  return (
    <svg className="qr" viewBox={`0 0 ${modules.length} ${modules.length}`} role="img" aria-label={name} shapeRendering="crispEdges">
      <rect width="100%" height="100%" />
      <path d={pathOf(modules)} />
    </svg>
  );
}
