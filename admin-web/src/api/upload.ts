/** Uploads with progress, which `fetch` does not report. */

import { API_BASE_URL } from "./client";
import { NoAnswer, problemOf } from "./problem";
import * as session from "./session";
import type { Artifact } from "./types";

/** Sends a firmware image; `progress` gets the bytes sent so far. If the session ends, it begins again after the next login. */
export async function uploadArtifact(image: Blob, progress: (sentBytes: number) => void, signal: AbortSignal): Promise<Artifact> {
  const sent = session.current();
  const response = await send(image, progress, signal);
  if (response.status === 401) {
    await session.renewed(sent);
    return uploadArtifact(image, progress, signal);
  }
  if (!response.ok) throw await problemOf(response);
  return (await response.json()) as Artifact;
}

function send(image: Blob, progress: (sentBytes: number) => void, signal: AbortSignal): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${API_BASE_URL}/api/artifacts`);
    request.withCredentials = API_BASE_URL !== "";
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () => {
      const { status, statusText } = request;
      const retryAfter = request.getResponseHeader("retry-after");
      const headers = retryAfter === null ? {} : { "retry-after": retryAfter };
      resolve(new Response(request.responseText, { status, statusText, headers }));
    });
    request.addEventListener("error", () => reject(new NoAnswer(true)));
    request.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    if (signal.aborted) request.abort();
    else request.send(image);
  });
}
