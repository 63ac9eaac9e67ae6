/**
 * The keyset that the pinned key leads to. The key is given when the pages are built, and they are best served from elsewhere than the
 * server: who controls a server also controls the pages that come from it.
 */

import { queryOptions } from "@tanstack/react-query";

import { API_BASE_URL } from "../api/client";
import { trusted } from "./trust";

/** The server's public key, 32 bytes as base64; empty if none was given. */
export const PINNED_KEY: string = (import.meta.env["SERVER_PUBLIC_KEY_BASE64"] as string | undefined)?.trim() ?? "";

const MINUTE_MS = 60_000;

async function ask(version?: number): Promise<string> {
  const query = version === undefined ? "" : `?version=${version}`;
  const response = await fetch(`${API_BASE_URL}/keys${query}`, { credentials: "omit" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.text();
}

export const trustQuery = queryOptions({
  queryKey: ["keys", "trusted"],
  queryFn: () => trusted(PINNED_KEY, ask, Date.now()),
  staleTime: MINUTE_MS,
});
