/** Texts of a selection of devices, and of what it hits. */

export const selection = {
  title: "Which devices",
  hint: "A device has to match everything that is given here.",
  any: "any",
  ids: "Ids",
  idsHint: "with spaces, commas or lines between them",
  reach: "What it hits",
  nobody: "Nothing is selected yet.",
  online: "Online",
  silent: "Not online",
  notSelected: (left: string, named: string) => `${left} of ${named} named devices are unknown or do not match:`,
  changed: (now: string) => `The selection has changed meanwhile: it now hits ${now}. Nothing was done. Close this and look again.`,
};
