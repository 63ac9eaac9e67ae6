/** Sentences of the server, taken apart into words and times. */

const TIME = /(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z)/;

/** Words and times in their order; what only looks like a time is words. */
export function split(text: string): (string | { readonly at: string })[] {
  return text
    .split(TIME)
    .filter((part) => part !== "")
    .map((part) => (TIME.test(part) && !Number.isNaN(Date.parse(part)) ? { at: part } : part));
}
