/** What the counts of the fleet mean: who is missing, which sites are down, what a person has to look at. */

import type { FleetPresence, KeysStatus, PresenceCounts, Rollout } from "../../api/types";
import { missing, registered } from "../../format/presence";

export interface Place {
  readonly name: string;
  readonly counts: PresenceCounts;
}

/** Sites or models, those with the most missing devices first, then the largest. */
export function places(byName: Readonly<Record<string, PresenceCounts>>): Place[] {
  const all = Object.entries(byName).map(([name, counts]) => ({ name, counts }));
  const order = (one: Place, other: Place) =>
    missing(other.counts) - missing(one.counts) ||
    registered(other.counts) - registered(one.counts) ||
    one.name.localeCompare(other.name);
  return all.sort(order);
}

/** Least devices of a site for a majority of them to say something about the site. */
const SITE_DEVICES_MIN = 3;

function isDown({ counts }: Place): boolean {
  return registered(counts) >= SITE_DEVICES_MIN && missing(counts) * 2 > registered(counts);
}

/** Names of the sites that are down. */
function downSites(fleet: FleetPresence): string[] {
  return places(fleet.sites)
    .filter(isDown)
    .map(({ name }) => name);
}

/** Missing devices that belong to a concern, at most so many: where a person can begin. */
export function examples<Row extends { readonly site: string }>(
  concern: Concern,
  fleet: FleetPresence,
  missingDevices: readonly Row[],
  most: number,
): Row[] {
  const down = downSites(fleet);
  const isOf = ({ site }: Row) => (concern.kind === "site_down" ? site === concern.site : !down.includes(site));
  return concern.kind === "site_down" || concern.kind === "missing" ? missingDevices.filter(isOf).slice(0, most) : [];
}

/** Something that a person has to look at. */
export type Concern =
  | { readonly kind: "site_down"; readonly site: string; readonly missing: number; readonly all: number }
  | { readonly kind: "missing"; readonly devices: number }
  | { readonly kind: "waiting" | "paused"; readonly rollout: string }
  | { readonly kind: "late_failures"; readonly rollout: string; readonly devices: number }
  | { readonly kind: "stranded" | "unknown_keyset"; readonly devices: number };

/** All of it, the most pressing first. */
export function concerns(
  fleet: FleetPresence,
  rollouts: readonly Rollout[] | undefined,
  keys: KeysStatus | undefined,
): Concern[] {
  const found: Concern[] = [];
  const down = places(fleet.sites).filter(isDown);
  for (const { name, counts } of down) {
    found.push({ kind: "site_down", site: name, missing: missing(counts), all: registered(counts) });
  }
  const elsewhere = missing(fleet.total) - down.reduce((sum, { counts }) => sum + missing(counts), 0);
  if (elsewhere > 0) found.push({ kind: "missing", devices: elsewhere });
  for (const { rollout_id: rollout, status, late_failures: devices, open } of rollouts ?? []) {
    if (status === "WAITING") found.push({ kind: "waiting", rollout });
    if (status === "PAUSED") found.push({ kind: "paused", rollout });
    if (open && devices > 0) found.push({ kind: "late_failures", rollout, devices });
  }
  if (keys && keys.unknown_keyset_devices.length > 0) {
    found.push({ kind: "unknown_keyset", devices: keys.unknown_keyset_devices.length });
  }
  // Without a change of keys under way, a device that has not confirmed the newest keyset loses nothing yet.
  const isChanging = keys?.keys.some((key) => key.status === "ANNOUNCED") ?? false;
  if (keys && isChanging && keys.stranded_devices > 0) found.push({ kind: "stranded", devices: keys.stranded_devices });
  return found;
}

/** Heartbeats a minute between two readings of how many are stored; none before the second. */
export function beatsPerMin(
  before: { lastRow: number; at: number } | undefined,
  now: { lastRow: number; at: number } | undefined,
): number | undefined {
  if (!before || !now || now.at <= before.at) return undefined;
  return Math.max(0, Math.round(((now.lastRow - before.lastRow) / (now.at - before.at)) * 60_000));
}
