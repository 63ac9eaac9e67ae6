import { beforeEach, describe, expect, it, vi } from "vitest";

vi.stubGlobal("window", { location: { origin: "http://pages" } });
const { answer, api } = await import("./client");
const { ApiProblem } = await import("./problem");
const session = await import("./session");

const ANNA = { name: "user:anna", role: "admin" } as const;
const OLGA = { name: "user:olga", role: "admin" } as const;
const refused = () => new Response('{"detail":"no session"}', { status: 401 });
const users = () => Response.json({ items: [] });
const ask = () => answer(api.GET("/api/users"));

/** Answers of the server, one call after the other. */
const server = vi.fn<() => Promise<Response>>();
vi.stubGlobal("fetch", server);
const isExpired = () => vi.waitFor(() => expect(session.current().state).toBe("expired"));

beforeEach(() => {
  server.mockReset();
  session.began(ANNA);
});

describe("a call that meets an ended session", () => {
  it("is sent again after the login, also if the next session has ended as well", async () => {
    server.mockResolvedValueOnce(refused()).mockResolvedValueOnce(refused()).mockResolvedValueOnce(users());
    const call = ask();
    await isExpired();
    session.began(ANNA);
    await isExpired();
    session.began(ANNA);
    expect(await call).toEqual({ items: [] });
  });

  it("asks nobody to log in who has done so since it was sent", async () => {
    let answerLate: (response: Response) => void = () => undefined;
    server.mockReturnValueOnce(new Promise((resolve) => (answerLate = resolve))).mockResolvedValueOnce(users());
    const call = ask();
    await vi.waitFor(() => expect(server).toHaveBeenCalledOnce());
    session.began(ANNA);
    answerLate(refused());
    expect(await call).toEqual({ items: [] });
    expect(session.current().state).toBe("active");
  });

  it("says that the server can't be reached if that is so after the login", async () => {
    server.mockResolvedValueOnce(refused()).mockRejectedValueOnce(new TypeError("Failed to fetch"));
    const call = ask().catch((error: unknown) => error);
    await isExpired();
    session.began(ANNA);
    const error = await call;
    expect(error instanceof ApiProblem && error.status).toBe(0);
  });

  it("is not sent for somebody else", async () => {
    server.mockResolvedValueOnce(refused());
    const call = ask().catch((error: unknown) => String(error));
    await isExpired();
    session.ended();
    session.began(OLGA);
    expect(await call).toContain("logged out");
    expect(server).toHaveBeenCalledOnce();
  });

  it("is not sent for somebody who has logged in while its answer was on the way", async () => {
    let answerLate: (response: Response) => void = () => undefined;
    server.mockReturnValueOnce(new Promise((resolve) => (answerLate = resolve)));
    const call = ask().catch((error: unknown) => String(error));
    await vi.waitFor(() => expect(server).toHaveBeenCalledOnce());
    session.ended();
    session.began(OLGA);
    answerLate(refused());
    expect(await call).toContain("not logged in");
    expect(session.current()).toEqual({ state: "active", me: OLGA });
  });
});

describe("a call without an answer", () => {
  const change = () => answer(api.POST("/api/logout")).catch((error: unknown) => error);

  it("is known for a change, which may have been made", async () => {
    server.mockRejectedValue(new TypeError("Failed to fetch"));
    expect(await change()).toMatchObject({ status: 0, wasChange: true });
    expect(await ask().catch((error: unknown) => error)).toMatchObject({ status: 0, wasChange: false });
  });

  it("ends after two minutes if it is a change", async () => {
    vi.useFakeTimers();
    const hangs = (_: Request, { signal }: { signal?: AbortSignal } = {}) =>
      new Promise<Response>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    vi.stubGlobal("fetch", hangs);
    const call = change();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(await call).toMatchObject({ status: 0, wasChange: true });
    vi.useRealTimers();
    vi.stubGlobal("fetch", server);
  });
});
