/**
 * An inventory as the server will read it, for a preview before anything is sent. Every row is checked as there, except what needs the
 * database (whether a device or a key is known already) and whether a key is a point of its curve: the server has the last word.
 */

import { NotCsv, type Row, rowsOf, textOf, trimmed, withoutEscape } from "./csv";

export const COLUMNS = ["serial", "device_id", "public_key", "manufacturer", "model", "site"] as const;
type Column = (typeof COLUMNS)[number];

export type PreviewDevice = Readonly<Record<Column, string>> & { readonly line: number };

/** What is wrong, as a text's name with what it is about. */
export interface Fault {
  readonly line: number;
  readonly field: Column | "file" | "header" | "row";
  readonly why:
    | NotCsv["why"]
    | "empty"
    | "noRows"
    | "tooManyRows"
    | "columnMissing"
    | "columnTwice"
    | "fieldCount"
    | "text"
    | "id"
    | "reserved"
    | "key"
    | "sameId"
    | "sameKey"
    | "rounded";
  readonly about: readonly string[];
}

export interface Inventory {
  readonly devices: readonly PreviewDevice[];
  /** At most [FAULTS_MAX]; with any of them the server imports nothing. */
  readonly faults: readonly Fault[];
  /** Accepted, but probably wrong. */
  readonly warnings: readonly Fault[];
}

/** As in the server. */
export const FAULTS_MAX = 1_000;
const ROWS_MAX = 1_000_000;
const FIELD_BYTES_MAX = 128;
const RESERVED_IDS: readonly string[] = ["export", "import", "logs", "revoke"];
/** Larger files are not read in the browser: that would hold the page. The server takes them all the same. */
export const PREVIEW_BYTES_MAX = 16 * 1024 * 1024;

export function readInventory(file: Uint8Array): Inventory {
  const fault = (line: number, field: Fault["field"], why: Fault["why"], ...about: string[]): Fault => ({ line, field, why, about });
  const only = (found: Fault): Inventory => ({ devices: [], faults: [found], warnings: [] });
  let text: string;
  try {
    text = textOf(file);
  } catch (error) {
    if (error instanceof NotCsv) return only(fault(error.line, "file", error.why));
    throw error;
  }
  const rows = rowsOf(text);
  const { value: header, done } = rows.next();
  if (done) return only(fault(1, "header", "empty"));
  const columns = columnsOf(header);
  if ("why" in columns) return only(columns);

  const devices: PreviewDevice[] = [];
  const faults: Fault[] = [];
  const warnings: Fault[] = [];
  const seen = new Map<string, number>();
  for (const row of rows) {
    const device = deviceOf(row, columns);
    const found = Array.isArray(device) ? device : repeated(device as PreviewDevice, seen);
    if (found.length === 0) {
      const { line, serial } = device as PreviewDevice;
      if (ROUNDED.test(serial) && warnings.length < FAULTS_MAX) warnings.push(fault(line, "serial", "rounded", serial));
      devices.push(device as PreviewDevice);
    }
    faults.push(...found);
    if (faults.length >= FAULTS_MAX) return { devices, faults: faults.slice(0, FAULTS_MAX), warnings };
    if (devices.length > ROWS_MAX) return { devices, faults: [...faults, fault(row.line, "file", "tooManyRows")], warnings };
  }
  if (devices.length === 0 && faults.length === 0) return only(fault(1, "file", "noRows"));
  return { devices, faults, warnings };
}

interface Columns {
  readonly at: Readonly<Record<Column, number>>;
  readonly count: number;
}

/** Names are taken in any case, with spaces or hyphens for underscores. */
function columnsOf({ line, fields }: Row): Columns | Fault {
  const names = fields.map((name) => name.toLowerCase().replaceAll(/[ -]/g, "_"));
  const at: Partial<Record<Column, number>> = {};
  for (const column of COLUMNS) {
    const first = names.indexOf(column);
    if (first === -1) return { line, field: "header", why: "columnMissing", about: [column] };
    if (names.includes(column, first + 1)) return { line, field: "header", why: "columnTwice", about: [column] };
    at[column] = first;
  }
  return { at: at as Record<Column, number>, count: names.length };
}

const UNPRINTABLE = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]/u;
const ID = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;
const ROUNDED = /^\d+(?:[.,]\d+)*[Ee]\+\d+$/;
/** 32 bytes in base64, without unused bits. */
const KEY_FORM = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** Whether a text can be a public key in base64; whether it is a point of its curve, the server says. */
export const isPublicKey = (text: string) => KEY_FORM.test(text);
const utf8 = new TextEncoder();

const PLAIN = /^[!-~](?:[ -~]{0,126}[!-~])?$/;

function isField(text: string): boolean {
  if (PLAIN.test(text)) return true;
  const bytes = utf8.encode(text).length;
  return bytes >= 1 && bytes <= FIELD_BYTES_MAX && !UNPRINTABLE.test(text) && trimmed(text) === text;
}

function deviceOf({ line, fields }: Row, { at, count }: Columns): PreviewDevice | Fault[] {
  if (fields.length < count || fields.slice(count).some((field) => field !== "")) {
    return [{ line, field: "row", why: "fieldCount", about: [String(fields.length), String(count)] }];
  }
  const device = { line } as { line: number } & Record<Column, string>;
  for (const column of COLUMNS) device[column] = withoutEscape(fields[at[column]] ?? "");
  const faults: Fault[] = [];
  const check = (field: Column, why: Fault["why"], isRight: boolean) => {
    if (!isRight) faults.push({ line, field, why, about: [device[field]] });
  };
  for (const column of ["serial", "manufacturer", "model", "site"] as const) check(column, "text", isField(device[column]));
  if (ID.test(device.device_id)) check("device_id", "reserved", !RESERVED_IDS.includes(device.device_id));
  else check("device_id", "id", false);
  check("public_key", "key", isPublicKey(device.public_key));
  return faults.length > 0 ? faults : device;
}

/** Notes a device, and finds what an earlier line has of it. */
function repeated(device: PreviewDevice, seen: Map<string, number>): Fault[] {
  const faults: Fault[] = [];
  for (const [field, why] of [["device_id", "sameId"], ["public_key", "sameKey"]] as const) {
    const earlier = seen.get(device[field]);
    if (earlier !== undefined) faults.push({ line: device.line, field, why, about: [String(earlier)] });
    seen.set(device[field], device.line);
  }
  return faults;
}
