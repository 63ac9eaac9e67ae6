/** The filter of the audit as it stands in the address, and back. */

import type { AuditFilter } from "../../api/queries";

export const FIELDS = ["actor", "action", "subject", "since", "until"] as const;

const ACTION = /^[a-z_.]{1,40}$/;
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

const isTime = (text: string) => TIME.test(text) && !Number.isNaN(Date.parse(text));

/** The filter in an address that anybody may have written: what is no filter is left out. */
export function readAuditFilter(search: Record<string, unknown>): AuditFilter {
  const filter: Record<string, string> = {};
  for (const field of FIELDS) {
    const text = search[field];
    if (typeof text !== "string" || text === "") continue;
    if ((field === "since" || field === "until") && !isTime(text)) continue;
    filter[field] = text;
  }
  return filter;
}

/** The filter with another value in one field; an empty one takes the field away. */
export function changed(filter: AuditFilter, field: keyof AuditFilter, value: string): AuditFilter {
  return readAuditFilter({ ...filter, [field]: value });
}

/** What the server would refuse about it. */
export function faultOf({ action, since, until }: AuditFilter): "badAction" | "badPeriod" | undefined {
  if (action !== undefined && !ACTION.test(action)) return "badAction";
  if (since !== undefined && until !== undefined && since > until) return "badPeriod";
  return undefined;
}

/** A time of the address as a field for local times has it, and back; empty for none. */
export function toLocal(utc: string | undefined): string {
  if (utc === undefined) return "";
  const at = new Date(utc);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function fromLocal(local: string): string {
  const at = new Date(local);
  return local === "" || Number.isNaN(at.getTime()) ? "" : at.toISOString();
}
