/** The part of a device's page that is open, as it stands in the address. */

export const TABS = ["firmware", "commands", "logs", "punches", "audit"] as const;
export type Tab = (typeof TABS)[number];

export function readTab(search: Record<string, unknown>): { tab?: Tab } {
  const tab = TABS.find((tab) => tab === search["tab"]);
  return tab === undefined ? {} : { tab };
}
