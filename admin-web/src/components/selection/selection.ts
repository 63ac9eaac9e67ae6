/** Which devices something is done to, as typed and as it stands in the address; and how many it hits. */

import type { DeviceSelector, SelectedPresence } from "../../api/types";
import { registered } from "../../format/presence";

export interface Selection {
  readonly site: string;
  readonly model: string;
  readonly label: string;
  readonly firmware_version: string;
  /** Ids with spaces, commas or lines between them. */
  readonly device_ids: string;
}

const FIELDS = ["site", "model", "label", "firmware_version", "device_ids"] as const;

/** The selection in an address that anybody may have written. */
export function readSelection(search: Record<string, unknown>): Partial<Selection> {
  const known: Record<string, string> = {};
  for (const field of FIELDS) {
    const text = search[field];
    if (typeof text === "string" && text !== "") known[field] = text;
  }
  return known;
}

export function selectionOf(search: Partial<Selection>): Selection {
  return { site: "", model: "", label: "", firmware_version: "", device_ids: "", ...search };
}

/** The ids that were typed, each once. */
export function idsOf(typed: string): string[] {
  return [...new Set(typed.split(/[\s,;]+/).filter((id) => id !== ""))];
}

/** The API's selector; none as long as nothing is selected. */
export function whichOf(selection: Selection): DeviceSelector | undefined {
  const ids = idsOf(selection.device_ids);
  const texts = (["site", "model", "label", "firmware_version"] as const)
    .map((field) => [field, selection[field].trim()] as const)
    .filter(([, text]) => text !== "");
  if (ids.length === 0 && texts.length === 0) return undefined;
  return { all: false, ...Object.fromEntries(texts), ...(ids.length > 0 ? { device_ids: ids } : {}) };
}

/** Devices that an order or a revocation hits: those that are not revoked. */
export function hits({ total }: SelectedPresence): number {
  return registered(total) + total.whitelisted;
}

/** What is to be typed before it is done: the device if it is one that was named, else how many they are. */
export function wordOf(selection: Selection, selected: SelectedPresence): string {
  const [id, ...others] = idsOf(selection.device_ids);
  return id !== undefined && others.length === 0 ? id : String(hits(selected));
}
