/** Texts of a tab that is not up to date any more. */

export const stale = {
  updated: "The server has been updated since this page was opened. Save what you have typed, then reload.",
  other: (name: string) => `In another tab ${name} has logged in. What you do here is done as ${name}: reload this page.`,
  reload: "Reload",
};
