import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { describe, expect, it, vi } from "vitest";

vi.mock("./client", () => ({ API_BASE_URL: "" }));

const { Changes, queriesOf } = await import("./events");

describe("an event", () => {
  it("names the queries that are asked again", () => {
    const queries = ["rollouts", "releases", "device", "commands", "presence", "devices", "selected"];
    expect(queriesOf('{"topics":["rollouts","commands","devices"]}')).toEqual(queries);
    expect(queriesOf('{"topics":[]}')).toEqual([]);
  });

  it("of another version of the server does no harm", () => {
    expect(queriesOf('{"topics":["weights",7]}')).toEqual([]);
    expect(queriesOf("not JSON")).toEqual([]);
    expect(queriesOf("{}")).toEqual([]);
  });
});

describe("what has changed", () => {
  it("is asked for once more after an answer that is on the way, never instead of it", async () => {
    vi.useFakeTimers();
    const queryClient = new QueryClient();
    const ended: boolean[] = [];
    const queryFn = async ({ signal }: { signal: AbortSignal }) => {
      await new Promise((resolve) => setTimeout(resolve, 3_500));
      ended.push(signal.aborted);
      return "devices";
    };
    const unfollow = new QueryObserver(queryClient, { queryKey: ["devices"], queryFn }).subscribe(() => undefined);
    const changes = new Changes(queryClient);
    for (let second = 0; second < 12; second += 1) {
      changes.add(["devices"]);
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(ended).toEqual([false, false, false]);
    await vi.advanceTimersByTimeAsync(10_000);
    // The last change was during the third answer: there is a fourth, and then peace.
    expect(ended).toEqual([false, false, false, false]);
    changes.stop();
    unfollow();
    vi.useRealTimers();
  });

  it("is not asked for again where it is a list of very many pages", async () => {
    const queryClient = new QueryClient();
    const list = (pages: number) => ({ pages: Array.from({ length: pages }, () => ({ items: [] })), pageParams: [] });
    queryClient.setQueryData(["devices", "short"], list(2));
    queryClient.setQueryData(["devices", "long"], list(100));
    new Changes(queryClient).add(["devices"]);
    const isInvalidated = (name: string) => queryClient.getQueryState(["devices", name])?.isInvalidated;
    expect([isInvalidated("short"), isInvalidated("long")]).toEqual([true, false]);
  });
});
