/** Signed documents as the server writes them: `name: value` lines, tables, and a signature as the last line. */

export interface Signed {
  /** Every byte before the signature line, with its line feed. */
  readonly body: string;
  readonly signature: string;
}

/** Cuts the signature off; none if the last line is not one with this label. */
export function cut(document: string, label: string): Signed | undefined {
  const at = document.lastIndexOf("\n") + 1;
  const last = document.slice(at);
  if (!last.startsWith(`${label}: `)) return undefined;
  return { body: document.slice(0, at), signature: last.slice(label.length + 2) };
}

/** The value of a line; quoted texts without their quotes. None if it is not there once. */
export function field(body: string, name: string): string | undefined {
  const found = body.split("\n").filter((line) => line.startsWith(`${name}: `));
  const value = found.length === 1 ? found[0]?.slice(name.length + 2) : undefined;
  if (!value?.startsWith('"')) return value;
  try {
    return JSON.parse(value) as string;
  } catch {
    return undefined;
  }
}

/** The texts of a line such as `models[2]: KS-100,KS-200`, where none of them is quoted. */
export function list(body: string, name: string): string[] | undefined {
  const match = new RegExp(`^${name}\\[(\\d+)\\]: ([^"\\n]*)$`, "m").exec(body);
  const values = match?.[2]?.split(",");
  return values && values.length === Number(match?.[1]) ? values : undefined;
}

/** The rows of a table whose cells are never quoted, such as key ids and base64. */
export function table(body: string, name: string, columns: readonly string[]): string[][] | undefined {
  const lines = body.split("\n");
  const heads = lines.filter((line) => line.startsWith(`${name}[`));
  const at = lines.findIndex((line) => line.startsWith(`${name}[`));
  const match = /^\w+\[(\d+)\]\{([\w,]+)\}:$/.exec(lines[at] ?? "");
  if (heads.length !== 1 || !match || match[2] !== columns.join(",")) return undefined;
  const rows: string[][] = [];
  for (const line of lines.slice(at + 1)) {
    if (!line.startsWith("  ")) break;
    const cells = line.slice(2).split(",");
    if (cells.length !== columns.length || line.includes('"')) return undefined;
    rows.push(cells);
  }
  return rows.length === Number(match[1]) ? rows : undefined;
}
