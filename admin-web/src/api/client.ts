/** The typed client of the admin API; `schema.ts` is generated from the server's OpenAPI document. */

import createClient from "openapi-fetch";

import { ApiProblem, NoAnswer, problemOf } from "./problem";
import type { paths } from "./schema";
import * as session from "./session";

/** Where the API is: the origin of this page, unless the pages were built for a static host. */
export const API_BASE_URL: string = import.meta.env["NEXT_PUBLIC_API_BASE_URL"] ?? "";

/** Paths that may answer 401 without a session having ended. */
const WITHOUT_SESSION = ["/api/login", "/api/me"];

/** How long a change may go without an answer: its dialog stays open for it. */
const CHANGE_MS = 120_000;

/** Sends a request once; throws [NoAnswer] if nothing comes back. */
async function fetchOnce(request: Request): Promise<Response> {
  const wasChange = request.method !== "GET";
  const waiting = new AbortController();
  const timer = wasChange ? setTimeout(() => waiting.abort(), CHANGE_MS) : undefined;
  try {
    return await fetch(request, wasChange ? { signal: AbortSignal.any([request.signal, waiting.signal]) } : {});
  } catch (error) {
    const isCanceled = error instanceof DOMException && error.name === "AbortError" && !waiting.signal.aborted;
    throw isCanceled ? error : new NoAnswer(wasChange);
  } finally {
    clearTimeout(timer);
  }
}

/** Sends a request; after 401 it waits until the person has logged in again, and repeats it. */
async function send(request: Request): Promise<Response> {
  const again = request.clone();
  const sent = session.current();
  const response = await fetchOnce(request);
  if (response.status !== 401 || WITHOUT_SESSION.includes(new URL(request.url).pathname)) return response;
  await session.renewed(sent);
  return send(again);
}

export const api = createClient<paths>({
  baseUrl: API_BASE_URL || window.location.origin,
  credentials: API_BASE_URL ? "include" : "same-origin",
  fetch: send,
});

api.use({
  async onResponse({ response }) {
    if (!response.ok) throw await problemOf(response);
  },
});

/** The body of a success; a failure has thrown its [ApiProblem] before. */
export async function answer<T>(call: Promise<{ data?: T; response: Response }>): Promise<T> {
  const { data, response } = await call;
  if (data === undefined) throw new ApiProblem(response.status, "the answer is empty");
  return data;
}
