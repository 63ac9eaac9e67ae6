/**
 * What the server says has changed: the queries about it are asked again at once. Pages ask every few seconds anyway, so that nothing
 * depends on this where a proxy keeps streams back.
 */

import type { Query, QueryClient } from "@tanstack/react-query";

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

/** Pages of a list that are asked for again at an event; a longer one is too much, and is polled. */
const PAGES_MAX = 5;

/** Between an event and the next one that is acted upon, while answers about the first are on the way. */
const AGAIN_MS = 1_000;

function isLong({ state }: Query): boolean {
  const { pages } = (state.data ?? {}) as { pages?: unknown };
  return Array.isArray(pages) && pages.length > PAGES_MAX;
}

/**
 * Asks again what has changed. What is being asked for at the moment is asked for once more after that, never instead: where something
 * changes every second, an answer that takes longer would never arrive.
 */
export class Changes {
  readonly #changed = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly queryClient: QueryClient) {}

  add(queries: readonly string[]): void {
    for (const query of queries) this.#changed.add(query);
    if (this.#timer === undefined) this.#ask();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #ask(): void {
    for (const query of this.#changed) {
      const which = { queryKey: [query], predicate: (of: Query) => !isLong(of) };
      if (this.queryClient.isFetching(which) > 0) continue;
      this.#changed.delete(query);
      void this.queryClient.invalidateQueries(which);
    }
    const isLeft = this.#changed.size > 0;
    this.#timer = isLeft ? setTimeout(() => this.#ask(), AGAIN_MS) : undefined;
  }
}

/** Follows the server's events until the returned function is called. */
export function followEvents(queryClient: QueryClient): () => void {
  let source: EventSource | undefined;
  let timer: number | undefined;
  const changes = new Changes(queryClient);
  const begin = () => {
    source = new EventSource(`${API_BASE_URL}/api/events`, { withCredentials: API_BASE_URL !== "" });
    source.addEventListener("changed", (event: MessageEvent<string>) => changes.add(queriesOf(event.data)));
    source.addEventListener("error", () => {
      // A stream that ended is resumed by the browser; one that was refused is not.
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(begin, PAUSE_MS);
    });
  };
  begin();
  return () => {
    changes.stop();
    window.clearTimeout(timer);
    source?.close();
  };
}
