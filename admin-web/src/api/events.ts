/**
 * What the server says has changed: the queries about it are asked again at once. Pages ask every few seconds anyway, so that nothing
 * depends on this where a proxy keeps streams back.
 */

import type { QueryClient } from "@tanstack/react-query";

import { API_BASE_URL } from "./client";

/** The first parts of the keys of queries about each topic. */
const QUERIES: Readonly<Record<string, readonly string[]>> = {
  devices: ["presence", "devices", "device", "selected"],
  commands: ["device", "commands"],
  rollouts: ["rollouts", "releases"],
  keys: ["keys"],
  limits: ["limits"],
};

/** How long after the server has refused a stream it is asked for another. */
const PAUSE_MS = 30_000;

/** Queries to ask again after an event; none of one that is not understood. */
export function queriesOf(data: string): string[] {
  try {
    const { topics } = JSON.parse(data) as { topics?: unknown };
    if (!Array.isArray(topics)) return [];
    return [...new Set(topics.flatMap((topic) => QUERIES[String(topic)] ?? []))];
  } catch {
    return [];
  }
}

/** Follows the server's events until the returned function is called. */
export function followEvents(queryClient: QueryClient): () => void {
  let source: EventSource | undefined;
  let timer: number | undefined;
  const begin = () => {
    source = new EventSource(`${API_BASE_URL}/api/events`, { withCredentials: API_BASE_URL !== "" });
    source.addEventListener("changed", (event: MessageEvent<string>) => {
      for (const query of queriesOf(event.data)) void queryClient.invalidateQueries({ queryKey: [query] });
    });
    source.addEventListener("error", () => {
      // A stream that ended is resumed by the browser; one that was refused is not.
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(begin, PAUSE_MS);
    });
  };
  begin();
  return () => {
    window.clearTimeout(timer);
    source?.close();
  };
}
