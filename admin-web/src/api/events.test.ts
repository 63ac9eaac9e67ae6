import { describe, expect, it, vi } from "vitest";

vi.mock("./client", () => ({ API_BASE_URL: "" }));

const { queriesOf } = await import("./events");

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
