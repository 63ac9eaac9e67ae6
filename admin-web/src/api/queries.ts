/** What pages ask the API for, and how often. Everything shown is asked for again while it is in view. */

import { infiniteQueryOptions, keepPreviousData, queryOptions, skipToken } from "@tanstack/react-query";

import { answer, api } from "./client";
import { gather } from "./gather";
import type { CommandState, DeviceSelector, DeviceStatus, DeviceUpdate, LogLevel, PresenceFilter, UpdateState } from "./types";

const SECOND_MS = 1_000;

/** How often pages ask again. */
export const FLEET_POLL_MS = 5 * SECOND_MS;
const DEVICE_POLL_MS = 5 * SECOND_MS;
const SLOW_POLL_MS = 30 * SECOND_MS;

/** Rows of a page of the device list, and of the lists about one device. */
const DEVICES_PAGE = 1_000;
const LIST_PAGE = 100;

export const presenceQuery = queryOptions({
  queryKey: ["presence"],
  queryFn: ({ signal }) => answer(api.GET("/api/presence", { signal })),
  refetchInterval: FLEET_POLL_MS,
});

export const rolloutsQuery = queryOptions({
  queryKey: ["rollouts"],
  queryFn: async ({ signal }) => {
    const page = await answer(api.GET("/api/rollouts", { signal, params: { query: { limit: 1_000 } } }));
    return page.items;
  },
  refetchInterval: FLEET_POLL_MS,
});

export const keysQuery = queryOptions({
  queryKey: ["keys"],
  queryFn: ({ signal }) => answer(api.GET("/api/keys", { signal })),
  refetchInterval: SLOW_POLL_MS,
});

export const limitsQuery = queryOptions({
  queryKey: ["limits"],
  queryFn: ({ signal }) => answer(api.GET("/api/limits", { signal })),
  refetchInterval: FLEET_POLL_MS,
});

/** How many heartbeats the server has stored, and when it said so: two of these give a rate. */
export const heartbeatsQuery = queryOptions({
  queryKey: ["heartbeats", "last"],
  queryFn: async ({ signal }) => {
    const query = { cursor: String(Number.MAX_SAFE_INTEGER), limit: 1 };
    const page = await answer(api.GET("/api/heartbeats", { signal, params: { query } }));
    return { lastRow: page.last_row, at: performance.now() };
  },
  refetchInterval: FLEET_POLL_MS,
});

/** The filter of the device list, as it stands in the page's address. */
export interface DeviceFilter {
  readonly search?: string;
  readonly model?: string;
  readonly site?: string;
  readonly firmware_version?: string;
  readonly label?: string;
  readonly status?: DeviceStatus;
  readonly presence?: PresenceFilter;
}

/** A list that is read page by page: `ask` gets the cursor of the page, none for the first. */
const paged = <Page extends { next_cursor?: string | null }>(
  queryKey: readonly unknown[],
  ask: (from: { cursor?: string }, signal: AbortSignal) => Promise<Page>,
) =>
  infiniteQueryOptions({
    queryKey,
    queryFn: ({ signal, pageParam }) => ask(pageParam === "" ? {} : { cursor: pageParam }, signal),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** How often a list of so many pages is asked for again: a page in half a minute, however long the list. Presence changes by time alone. */
export function listPollMs(pages: number): number {
  return SLOW_POLL_MS * Math.max(1, pages);
}

export const devicesQuery = (filter: DeviceFilter) => ({
  ...paged(["devices", filter], (from, signal) =>
    answer(api.GET("/api/devices", { signal, params: { query: { ...filter, limit: DEVICES_PAGE, ...from } } })),
  ),
  placeholderData: keepPreviousData,
  staleTime: SLOW_POLL_MS,
  refetchInterval: ({ state }: { state: { data?: { pages: readonly unknown[] } | undefined } }) => listPollMs(state.data?.pages.length ?? 1),
});

const ofDevice = (deviceId: string) => ["device", deviceId] as const;

/** A device as every role may see it. */
export const deviceQuery = (deviceId: string) =>
  queryOptions({
    queryKey: [...ofDevice(deviceId), "details"],
    queryFn: ({ signal }) => answer(api.GET("/api/devices/{device_id}", { signal, params: { path: { device_id: deviceId } } })),
    refetchInterval: SLOW_POLL_MS,
  });

/** All that is known about a device, with what an operator looks at first. */
export const investigationQuery = (deviceId: string) =>
  queryOptions({
    queryKey: [...ofDevice(deviceId), "investigation"],
    queryFn: ({ signal }) =>
      answer(api.GET("/api/devices/{device_id}/investigate", { signal, params: { path: { device_id: deviceId } } })),
    refetchInterval: DEVICE_POLL_MS,
  });

/** A device's heartbeats, the newest first. */
export const vitalsQuery = (deviceId: string) =>
  queryOptions({
    queryKey: [...ofDevice(deviceId), "heartbeats"],
    queryFn: async ({ signal }) => {
      const params = { path: { device_id: deviceId }, query: { limit: 1_000 } };
      const page = await answer(api.GET("/api/devices/{device_id}/heartbeats", { signal, params }));
      return page.items;
    },
    refetchInterval: DEVICE_POLL_MS,
    placeholderData: keepPreviousData,
  });

export const commandsQuery = (deviceId: string) => ({
  ...paged([...ofDevice(deviceId), "commands"], (from, signal) =>
    answer(api.GET("/api/commands", { signal, params: { query: { device_id: deviceId, limit: LIST_PAGE, ...from } } })),
  ),
  refetchInterval: DEVICE_POLL_MS,
});

export const logsQuery = (deviceId: string, level: LogLevel | undefined) => ({
  ...paged([...ofDevice(deviceId), "logs", level], (from, signal) => {
    const query = { device_id: deviceId, limit: LIST_PAGE, ...(level === undefined ? {} : { level }), ...from };
    return answer(api.GET("/api/devices/logs", { signal, params: { query } }));
  }),
  placeholderData: keepPreviousData,
});

export const punchesQuery = (deviceId: string) =>
  paged([...ofDevice(deviceId), "punches"], (from, signal) =>
    answer(api.GET("/api/attendance", { signal, params: { query: { device_id: deviceId, limit: LIST_PAGE, ...from } } })),
  );

export const auditQuery = (deviceId: string) =>
  paged([...ofDevice(deviceId), "audit"], (from, signal) =>
    answer(api.GET("/api/audit", { signal, params: { query: { subject: deviceId, limit: LIST_PAGE, ...from } } })),
  );

/** All releases, the newest last. */
export const releasesQuery = queryOptions({
  queryKey: ["releases"],
  queryFn: async ({ signal }) => {
    const page = await answer(api.GET("/api/releases", { signal, params: { query: { limit: 10_000 } } }));
    return page.items;
  },
  refetchInterval: SLOW_POLL_MS,
});

export const releaseQuery = (releaseId: string) =>
  queryOptions({
    queryKey: ["releases", releaseId],
    queryFn: ({ signal }) => answer(api.GET("/api/releases/{release_id}", { signal, params: { path: { release_id: releaseId } } })),
    refetchInterval: SLOW_POLL_MS,
  });

const ofRollout = (rolloutId: string) => ["rollouts", "one", rolloutId] as const;

/** A rollout with what it waits for and which devices to look at. */
export const rolloutStatusQuery = (rolloutId: string) =>
  queryOptions({
    queryKey: [...ofRollout(rolloutId), "status"],
    queryFn: ({ signal }) =>
      answer(api.GET("/api/rollouts/{rollout_id}/status", { signal, params: { path: { rollout_id: rolloutId } } })),
    refetchInterval: FLEET_POLL_MS,
  });

/** The decisions of a rollout, the oldest first. */
export const traceQuery = (rolloutId: string) => ({
  ...paged([...ofRollout(rolloutId), "trace"], (from, signal) => {
    const params = { path: { rollout_id: rolloutId }, query: { limit: LIST_PAGE, ...from } };
    return answer(api.GET("/api/rollouts/{rollout_id}/trace", { signal, params }));
  }),
  refetchInterval: FLEET_POLL_MS,
});

/** The devices of a rollout. */
export const updatesQuery = (rolloutId: string, state: UpdateState | undefined) => ({
  ...paged([...ofRollout(rolloutId), "updates", state], (from, signal) => {
    const query = { limit: LIST_PAGE, ...(state === undefined ? {} : { state }), ...from };
    return answer(api.GET("/api/rollouts/{rollout_id}/updates", { signal, params: { path: { rollout_id: rolloutId }, query } }));
  }),
  placeholderData: keepPreviousData,
  refetchInterval: FLEET_POLL_MS,
});

/** Rows of a request for all devices of a rollout, and most of them that a page asks for. */
const UPDATES_PAGE = 10_000;
export const OUTCOMES_MAX = 2 * UPDATES_PAGE;

/** The devices of a rollout, to see when each had its outcome; asked again once there are more outcomes. */
export const outcomesQuery = (rolloutId: string, outcomes: number) =>
  queryOptions({
    queryKey: ["outcomes", rolloutId, outcomes],
    queryFn: async ({ signal }) => {
      const updates: DeviceUpdate[] = [];
      let cursor: string | null | undefined = "";
      while (typeof cursor === "string" && updates.length < OUTCOMES_MAX) {
        const query: { limit: number; cursor?: string } = { limit: UPDATES_PAGE, ...(cursor === "" ? {} : { cursor }) };
        const params = { path: { rollout_id: rolloutId }, query };
        const page = await answer(api.GET("/api/rollouts/{rollout_id}/updates", { signal, params }));
        updates.push(...page.items);
        cursor = page.next_cursor;
      }
      return updates.filter((update) => update.ended_at);
    },
    staleTime: SLOW_POLL_MS,
    placeholderData: keepPreviousData,
  });

/** For one page the server reads 10,000 devices; with so many it has read the largest fleet. */
const MISSING_PAGES_MAX = 10;

/** Devices that are missing, the first ones: some examples of who needs a person. Where they are far down the list, they are asked for rarely. */
export const missingQuery = queryOptions({
  queryKey: ["devices", "missing"],
  queryFn: ({ signal }) =>
    gather(
      (from) => {
        const query = { presence: "MISSING", limit: LIST_PAGE, ...from } as const;
        return answer(api.GET("/api/devices", { signal, params: { query } }));
      },
      { rows: LIST_PAGE, pages: MISSING_PAGES_MAX },
    ),
  select: ({ rows }) => rows,
  refetchInterval: ({ state }) => ((state.data?.pages ?? 1) > 1 ? SLOW_POLL_MS : FLEET_POLL_MS),
});

/** How many devices a selector selects, by presence, model and site. */
export const selectedQuery = (which: DeviceSelector | undefined) =>
  queryOptions({
    queryKey: ["selected", which],
    queryFn: which ? ({ signal }) => answer(api.POST("/api/presence", { signal, body: { which } })) : skipToken,
  });

/** The filter of the list of commands, as it stands in the page's address. */
export interface CommandFilter {
  readonly order_id?: string;
  readonly device_id?: string;
  readonly state?: CommandState;
  readonly open?: true;
}

/** Commands, the last ones first. */
export const commandListQuery = (filter: CommandFilter) => ({
  ...paged(["commands", filter], (from, signal) => {
    const query = { ...filter, newest_first: true, limit: LIST_PAGE, ...from };
    return answer(api.GET("/api/commands", { signal, params: { query } }));
  }),
  placeholderData: keepPreviousData,
  refetchInterval: DEVICE_POLL_MS,
});

/** How often the progress of an order is asked for until it has ended. */
const ORDER_POLL_MS = 2 * SECOND_MS;

export const orderQuery = (orderId: string) =>
  queryOptions({
    queryKey: ["commands", "order", orderId],
    queryFn: ({ signal }) =>
      answer(api.GET("/api/commands/orders/{order_id}", { signal, params: { path: { order_id: orderId } } })),
    refetchInterval: ({ state }) => (state.data?.finished ? false : ORDER_POLL_MS),
  });

/** The first command of an order, such as the only one of an order for one device. */
export const firstCommandQuery = (orderId: string) =>
  queryOptions({
    queryKey: ["commands", "first", orderId],
    queryFn: async ({ signal }) => {
      const query = { order_id: orderId, limit: 1 };
      const page = await answer(api.GET("/api/commands", { signal, params: { query } }));
      return page.items[0] ?? null;
    },
    refetchInterval: ({ state }) => (state.data?.finished_at ? false : ORDER_POLL_MS),
  });

/** Which punches are listed: those of a period, the beginning included and the end not. */
export interface PunchFilter {
  readonly site?: string;
  readonly device_id?: string;
  readonly since: string;
  readonly until: string;
}

export const attendanceQuery = (filter: PunchFilter) => ({
  ...paged(["attendance", filter], (from, signal) =>
    answer(api.GET("/api/attendance", { signal, params: { query: { ...filter, limit: LIST_PAGE, ...from } } })),
  ),
  placeholderData: keepPreviousData,
  refetchInterval: SLOW_POLL_MS,
});

/** The filter of the audit, as it stands in the page's address: texts as typed, times in UTC. */
export interface AuditFilter {
  readonly actor?: string;
  readonly action?: string;
  readonly subject?: string;
  readonly since?: string;
  readonly until?: string;
}

/** Lines of the audit, the newest first. */
export const auditSearchQuery = (filter: AuditFilter) => ({
  ...paged(["audit", filter], (from, signal) =>
    answer(api.GET("/api/audit", { signal, params: { query: { ...filter, newest_first: true, limit: LIST_PAGE, ...from } } })),
  ),
  placeholderData: keepPreviousData,
});

export const usersQuery = {
  ...paged(["users"], (from, signal) => answer(api.GET("/api/users", { signal, params: { query: { limit: LIST_PAGE, ...from } } }))),
  refetchInterval: SLOW_POLL_MS,
};

/** Most tokens and sessions that are read; they leave the list 30 days after they have ended. */
const TOKENS_MAX = 10_000;

/** Tokens and sessions, the oldest first. */
export const tokensQuery = queryOptions({
  queryKey: ["tokens"],
  queryFn: async ({ signal }) => {
    const page = await answer(api.GET("/api/tokens", { signal, params: { query: { limit: TOKENS_MAX } } }));
    return page.items;
  },
  refetchInterval: SLOW_POLL_MS,
});
