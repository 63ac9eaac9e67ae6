/**
 * Who is logged in. A session ends while pages are open: then calls wait here until the person has logged in again, and are sent
 * once more, so that nothing typed is lost.
 */

import type { CurrentUser } from "./types";

export type Session =
  | { readonly state: "unknown" }
  | { readonly state: "anonymous" }
  | { readonly state: "active"; readonly me: CurrentUser }
  | { readonly state: "expired"; readonly me: CurrentUser };

let session: Session = { state: "unknown" };
const followers = new Set<() => void>();
let waiting: { resolve: () => void; reject: (why: Error) => void }[] = [];

function become(next: Session): void {
  session = next;
  for (const follower of followers) follower();
}

/** For `useSyncExternalStore`. */
export function follow(follower: () => void): () => void {
  followers.add(follower);
  return () => followers.delete(follower);
}

export function current(): Session {
  return session;
}

/** The person has logged in, for the first time or again. */
export function began(me: CurrentUser): void {
  const released = waiting;
  waiting = [];
  become({ state: "active", me });
  for (const call of released) call.resolve();
}

/** Nobody is logged in. */
export function ended(): void {
  const refused = waiting;
  waiting = [];
  become({ state: "anonymous" });
  for (const call of refused) call.reject(new Error("logged out"));
}

/**
 * A call that was sent in this session was answered with 401. Ends once it is worth sending again: after the next login, or at once if
 * there was one since.
 *
 * @throws Error if nobody or somebody else is logged in by now: a call is never sent for another person.
 */
export async function renewed(sent: Session): Promise<void> {
  if (session === sent && session.state === "active") become({ state: "expired", me: session.me });
  const isOfSame = "me" in session && "me" in sent && session.me.name === sent.me.name;
  if (!isOfSame) throw new Error("not logged in");
  if (session.state === "active") return;
  await new Promise<void>((resolve, reject) => waiting.push({ resolve, reject }));
}
