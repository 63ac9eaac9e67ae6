/** Numbers as people of a language write them. */

export function count(value: number, language: string): string {
  return new Intl.NumberFormat(language).format(value);
}

/** A part of a whole, such as 12.5 %; a dash of nothing. */
export function share(part: number, whole: number, language: string): string {
  if (whole === 0) return "–";
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(part / whole);
}

/** A quantity with its unit, such as 63.5 °C. */
export function quantity(value: number, unit: string, language: string, digits = 0): string {
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)} ${unit}`;
}
