/** Which orders a rollout takes. */

import type { Rollout } from "../../api/types";

const ORDERS = ["approve", "resume", "pause", "abort", "rollBack"] as const;
export type Order = (typeof ORDERS)[number];

/** The orders that a rollout takes in its state, and a person may give. */
export function possible(rollout: Pick<Rollout, "status" | "open" | "policy">, mayOrder: { stop: boolean; proceed: boolean }): Order[] {
  const { status, open, policy } = rollout;
  const isStoppable = status === "RUNNING" || status === "WAITING" || status === "PAUSED";
  const isWatched = status === "COMPLETED" && open;
  const takes: Record<Order, boolean> = {
    approve: status === "WAITING" && mayOrder.proceed,
    resume: status === "PAUSED" && mayOrder.proceed,
    pause: (status === "RUNNING" || status === "WAITING") && mayOrder.stop,
    abort: (isStoppable || isWatched) && mayOrder.stop,
    rollBack: (isStoppable || isWatched) && mayOrder.stop && Boolean(policy.roll_back_to),
  };
  return ORDERS.filter((order) => takes[order]);
}
