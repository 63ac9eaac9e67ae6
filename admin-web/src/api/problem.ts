/** What went wrong with a call: the API's own words (RFC 9457), or that the server can't be reached. */

/** An error in one field of an uploaded file. */
export interface FieldError {
  readonly line: number;
  readonly field: string;
  readonly what: string;
}

export class ApiProblem extends Error {
  override readonly name = "ApiProblem";
  constructor(
    /** HTTP status; 0 if no answer came. */
    readonly status: number,
    /** What is wrong, and what was expected; empty if no answer came. */
    readonly detail: string,
    readonly errors: readonly FieldError[] = [],
    /** Seconds to wait before the call is worth repeating. */
    readonly retryAfterS: number | undefined = undefined,
  ) {
    super(detail || "no answer from the server");
  }

  /** Whether the same call may succeed later without anything being changed. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** No answer came: the server can't be reached, or says nothing for too long. */
export class NoAnswer extends ApiProblem {
  /** A change may have been made all the same: only what asks is asked again by itself. */
  constructor(readonly wasChange: boolean) {
    super(0, "");
  }
}

/** The problem of an answer that is no success; also of one that a proxy wrote. */
export async function problemOf(response: Response): Promise<ApiProblem> {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  const retryAfterS = Number.isFinite(seconds) ? seconds : undefined;
  const text = await response.text().catch(() => "");
  try {
    const { detail, errors } = JSON.parse(text) as { detail?: unknown; errors?: FieldError[] };
    if (typeof detail === "string") return new ApiProblem(response.status, detail, errors ?? [], retryAfterS);
  } catch {
    // Not JSON: said by something between this page and the server.
  }
  return new ApiProblem(response.status, `HTTP ${response.status} ${response.statusText}`.trim(), [], retryAfterS);
}
