/** CSV as spreadsheets write it, read in the same way as the server does: encodings, separators, line endings, quotes, line numbers. */

/** A file that is no CSV text: where that was found, and why. */
export class NotCsv extends Error {
  override readonly name = "NotCsv";
  constructor(
    readonly line: number,
    readonly why: "utf32" | "utf16" | "utf16Unmarked" | "workbook" | "oldWorkbook" | "gzip" | "pdf" | "encoding",
  ) {
    super(why);
  }
}

const begins = (file: Uint8Array, ...bytes: number[]) => bytes.every((byte, at) => file[at] === byte);

/** UTF-8 with or without a byte-order mark, or UTF-16 with one. */
export function textOf(file: Uint8Array): string {
  if (begins(file, 0xff, 0xfe, 0, 0) || begins(file, 0, 0, 0xfe, 0xff)) throw new NotCsv(1, "utf32");
  if (begins(file, 0xff, 0xfe)) return decoded(file.subarray(2), "utf-16le", "utf16");
  if (begins(file, 0xfe, 0xff)) return decoded(file.subarray(2), "utf-16be", "utf16");
  if (begins(file, 0x50, 0x4b, 3, 4)) throw new NotCsv(1, "workbook");
  if (begins(file, 0xd0, 0xcf, 0x11, 0xe0)) throw new NotCsv(1, "oldWorkbook");
  if (begins(file, 0x1f, 0x8b)) throw new NotCsv(1, "gzip");
  if (begins(file, 0x25, 0x50, 0x44, 0x46)) throw new NotCsv(1, "pdf");
  if (file.length > 1 && (file[0] === 0) !== (file[1] === 0)) throw new NotCsv(1, "utf16Unmarked");
  return decoded(begins(file, 0xef, 0xbb, 0xbf) ? file.subarray(3) : file, "utf-8", "encoding");
}

function decoded(file: Uint8Array, encoding: string, why: NotCsv["why"]): string {
  try {
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(file);
  } catch {
    // Everything before the first wrong byte decodes without a replacement character.
    const [before = ""] = new TextDecoder(encoding, { ignoreBOM: true }).decode(file).split("\ufffd", 1);
    throw new NotCsv(1 + lineEndings(before), why);
  }
}

/** CR LF, LF, or a lone CR. */
function lineEndings(text: string): number {
  return text.match(/\r\n|\r|\n/g)?.length ?? 0;
}

export interface Row {
  /** The first line of the row, from 1. */
  readonly line: number;
  /** Without whitespace around them. */
  readonly fields: readonly string[];
}

const WHITESPACE_AROUND = /^\p{White_Space}+|\p{White_Space}+$/gu;

const isPlain = (code: number) => code > 0x20 && code < 0x7f;

export function trimmed(text: string): string {
  // Nearly every field is this case, and there are many fields.
  if (text === "" || (isPlain(text.charCodeAt(0)) && isPlain(text.charCodeAt(text.length - 1)))) return text;
  return text.replace(WHITESPACE_AROUND, "");
}

const SEPARATORS = [",", ";", "\t"] as const;

/** The separator that a first line `sep=;` declares, else the most frequent one in the header; the first of these if none is. */
function separatorOf(line: string): { readonly separator: string; readonly isDeclared: boolean } {
  const declared = /^"*sep=(.)/u.exec(line)?.[1];
  if (declared !== undefined && SEPARATORS.some((separator) => separator === declared)) return { separator: declared, isDeclared: true };
  const counts = SEPARATORS.map((separator) => line.split(separator).length - 1);
  return { separator: SEPARATORS[counts.indexOf(Math.max(...counts))] ?? ",", isDeclared: false };
}

/** The rows with their lines, the header included. Those without content, as spreadsheets leave them, are left out. */
export function* rowsOf(text: string): Generator<Row> {
  const [first = ""] = text.split(/[\r\n]/, 1);
  const { separator, isDeclared } = separatorOf(first);
  let at = 0;
  let line = 1;
  if (isDeclared) {
    at = first.length;
    if (text[at] === "\r" || text[at] === "\n") {
      at += text.startsWith("\r\n", at) ? 2 : 1;
    }
    line = 2;
  }
  /** Whether the sign at `at` ends a line, such as each LF that does not belong to a CR. */
  const endsLine = () => text[at] === "\r" || (text[at] === "\n" && text[at - 1] !== "\r");
  while (at < text.length) {
    while (at < text.length && (text[at] === "\r" || text[at] === "\n")) {
      if (endsLine()) line += 1;
      at += 1;
    }
    if (at >= text.length) return;
    const row = { line, fields: [] as string[] };
    let isEndOfRow = false;
    while (!isEndOfRow) {
      let field = "";
      if (text[at] === '"') {
        at += 1;
        for (;;) {
          const quote = text.indexOf('"', at);
          const end = quote === -1 ? text.length : quote;
          const quoted = text.slice(at, end);
          line += lineEndings(quoted);
          field += quoted;
          at = end + 1;
          if (text[at] !== '"' || quote === -1) break;
          field += '"';
          at += 1;
        }
      }
      let end = at;
      while (end < text.length && text[end] !== separator && text[end] !== "\r" && text[end] !== "\n") end += 1;
      field += text.slice(at, end);
      row.fields.push(trimmed(field));
      isEndOfRow = text[end] !== separator;
      at = isEndOfRow ? end : end + 1;
    }
    if (row.fields.some((field) => field !== "")) yield row;
  }
}

const FORMULA = /^(?:[\t\r\n]|[\p{White_Space}\p{Cc}]*[=+\-@＝＋－＠])/u;

/** Without the apostrophe that keeps a spreadsheet from taking a field for a formula. */
export function withoutEscape(field: string): string {
  return field.startsWith("'") && FORMULA.test(field.replace(/^'+/, "")) ? field.slice(1) : field;
}
