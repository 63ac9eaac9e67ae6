import { describe, expect, it } from "vitest";

import { rowsOf, textOf, withoutEscape } from "./csv";
import { readInventory } from "./inventory";

const lines = (text: string) => [...rowsOf(text)].map(({ line, fields }) => [line, fields.join("|")]);
const bytes = (text: string) => new TextEncoder().encode(text);
const wide = (text: string, isLittle: boolean) => {
  const file = new DataView(new ArrayBuffer(text.length * 2));
  for (let at = 0; at < text.length; at += 1) file.setUint16(at * 2, text.charCodeAt(at), isLittle);
  return new Uint8Array(file.buffer);
};

describe("CSV", () => {
  it("has the number of the first line of each row", () => {
    for (const end of ["\n", "\r\n", "\r"]) {
      const text = ["a,b", "1,2", "", '"3', 'x",4', ",,", "5,6"].join(end);
      expect(lines(text)).toEqual([[1, "a|b"], [2, "1|2"], [4, `3${end}x|4`], [7, "5|6"]]);
      expect(lines(`sep=;${end}a;b${end}1,5;2`)).toEqual([[2, "a|b"], [3, "1,5|2"]]);
    }
  });

  it("is separated by what the header has most of", () => {
    for (const text of ["a,b,c;d\n1,2,3", "a;b;c,d\n1;2;3", "a\tb\tc,d\n1\t2\t3"]) expect(lines(text)[1]?.[1]).toBe("1|2|3");
  });

  it("keeps quotes that are escaped, and text after a quoted part", () => {
    expect(lines('"a""b" c,"",  d ,x"y"\n"open')).toEqual([[1, 'a"b c||d|x"y"'], [2, "open"]]);
    expect(lines("a,b,\n,,\n")).toEqual([[1, "a|b|"]]);
  });

  it("is decoded, or named", () => {
    expect(textOf(bytes("\ufeffsér\n"))).toBe("sér\n");
    expect(textOf(wide("\ufeffsér\n", true))).toBe("sér\n");
    expect(textOf(wide("\ufeffsér\n", false))).toBe("sér\n");
    const refused = (file: Uint8Array) => readInventory(file).faults.map(({ line, field, why }) => [line, field, why]);
    expect(refused(wide("a\n", true))).toEqual([[1, "file", "utf16Unmarked"]]);
    expect(refused(bytes("PK\u0003\u0004rest"))).toEqual([[1, "file", "workbook"]]);
    expect(refused(Uint8Array.of(97, 13, 10, 77, 0xfc, 110))).toEqual([[2, "file", "encoding"]]);
  });

  it("loses the apostrophe before a formula, and no other", () => {
    expect(["'=1+1", "'+1", "''@x", "'quoted'", "it's", "'", "+1"].map(withoutEscape)).toEqual(
      ["=1+1", "+1", "'@x", "'quoted'", "it's", "'", "+1"],
    );
  });
});

const HEADER = "serial,device_id,public_key,manufacturer,model,site\n";
const key = (number: number) => `${String(number).padStart(42, "A")}A=`;
const row = (number: number) => `S${number},KS-${number},${key(number)},Acme,KS-100,north\n`;
const faults = (text: string) => readInventory(bytes(text)).faults.map(({ line, field, why }) => [line, field, why]);

describe("an inventory", () => {
  it("is read with its columns in any order", () => {
    const { devices, faults } = readInventory(bytes(`site;Model;manufacturer;Public Key;device-id;serial\nnorth;M;A;${key(1)};KS-1;S1\n`));
    expect(faults).toEqual([]);
    expect(devices).toEqual([
      { line: 2, serial: "S1", device_id: "KS-1", public_key: key(1), manufacturer: "A", model: "M", site: "north" },
    ]);
  });

  it("has each fault with its line and field, in the server's order", () => {
    const text = `${HEADER}${row(1)}S2,2-bad,x,A,M,s\nS3,KS-3,c2hvcnQ=,A,M,s\n,KS-4,x,A,M,s\nS5,KS-5\n${row(1)}S7,import,${key(7)},A,M,s\n`;
    expect(faults(text)).toEqual([
      [3, "device_id", "id"],
      [3, "public_key", "key"],
      [4, "public_key", "key"],
      [5, "serial", "text"],
      [5, "public_key", "key"],
      [6, "row", "fieldCount"],
      [7, "device_id", "sameId"],
      [7, "public_key", "sameKey"],
      [8, "device_id", "reserved"],
    ]);
  });

  it("needs a header with every column, once, and rows below it", () => {
    expect(faults("")).toEqual([[1, "header", "empty"]]);
    expect(faults("serial,model\n")).toEqual([[1, "header", "columnMissing"]]);
    expect(faults(`site,${HEADER}`)).toEqual([[1, "header", "columnTwice"]]);
    expect(faults(HEADER)).toEqual([[1, "file", "noRows"]]);
  });

  it("warns of what a spreadsheet has rounded", () => {
    const { warnings } = readInventory(bytes(`${HEADER}8.60123E+14,KS-1,${key(1)},A,M,s\n`));
    expect(warnings.map(({ line, why, about }) => [line, why, about])).toEqual([[2, "rounded", ["8.60123E+14"]]]);
  });

  it("names no more faults than the server", () => {
    expect(faults(HEADER + "x\n".repeat(5_000))).toHaveLength(1_000);
  });

  it("of a hundred thousand rows is read at once", () => {
    let text = HEADER;
    for (let number = 0; number < 100_000; number += 1) text += row(number);
    expect(readInventory(bytes(text)).devices).toHaveLength(100_000);
  });
});
