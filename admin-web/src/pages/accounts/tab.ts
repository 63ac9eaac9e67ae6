/** The part of the page about accounts that is open, as it stands in the address. */

export const TABS = ["users", "tokens", "sessions"] as const;
export type AccountsTab = (typeof TABS)[number];

export function readAccountsTab(search: Record<string, unknown>): { tab?: AccountsTab } {
  const tab = TABS.find((tab) => tab === search["tab"]);
  return tab === undefined ? {} : { tab };
}
