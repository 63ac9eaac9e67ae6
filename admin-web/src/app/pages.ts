/** Which pages there are in the navigation, and which roles see which page. What a role may do is the server's to decide. */

import type { Role } from "../api/types";
import type { Texts } from "../texts/en";

export interface PageLink {
  readonly path:
    | "/fleet"
    | "/devices"
    | "/releases"
    | "/rollouts"
    | "/commands"
    | "/punches"
    | "/provisioning"
    | "/revocation"
    | "/server-keys"
    | "/limits"
    | "/users"
    | "/audit";
  readonly name: (texts: Texts) => string;
  readonly roles: readonly Role[];
}

const READ: readonly Role[] = ["viewer", "operator", "release_manager", "admin"];
const OPERATE: readonly Role[] = ["operator", "release_manager", "admin"];
const RELEASE: readonly Role[] = ["release_manager", "admin"];
const PROVISION: readonly Role[] = ["factory", "admin"];
const ADMINISTER: readonly Role[] = ["admin"];

export const PAGES: readonly PageLink[] = [
  { path: "/fleet", name: (texts) => texts.pages.fleet, roles: READ },
  { path: "/devices", name: (texts) => texts.pages.devices, roles: [...READ, "factory"] },
  { path: "/releases", name: (texts) => texts.pages.releases, roles: READ },
  { path: "/rollouts", name: (texts) => texts.pages.rollouts, roles: READ },
  { path: "/commands", name: (texts) => texts.pages.commands, roles: READ },
  { path: "/punches", name: (texts) => texts.pages.attendance, roles: READ },
  { path: "/revocation", name: (texts) => texts.pages.revocation, roles: OPERATE },
  { path: "/provisioning", name: (texts) => texts.provisioning.title, roles: PROVISION },
  { path: "/server-keys", name: (texts) => texts.keys.title, roles: READ },
  { path: "/limits", name: (texts) => texts.limits.title, roles: READ },
  { path: "/users", name: (texts) => texts.accounts.title, roles: ADMINISTER },
  { path: "/audit", name: (texts) => texts.audit.title, roles: ADMINISTER },
];

/** Pages that are seen by other roles than the page of the navigation that they belong to. */
const WITHIN: readonly { readonly path: string; readonly roles: readonly Role[] }[] = [
  { path: "/devices/$deviceId/investigate", roles: READ },
  { path: "/rollouts/plan", roles: RELEASE },
  { path: "/commands/new", roles: OPERATE },
  { path: "/server-keys/compromised", roles: ADMINISTER },
];

/** The pages of a role, in the order of the navigation. */
export function pagesOf(role: Role | null | undefined): readonly PageLink[] {
  return PAGES.filter((page) => role && page.roles.includes(role));
}

/** Whether a role sees the page of a route, such as `/devices/$deviceId`, also if its address was sent by somebody else. */
export function maySee(role: Role | null | undefined, route: string): boolean {
  const all = [...WITHIN, ...PAGES].filter(({ path }) => `${route}/`.startsWith(`${path}/`));
  const page = all.sort((one, other) => other.path.length - one.path.length)[0];
  return page === undefined || (role ? page.roles.includes(role) : false);
}

/** Whether a role may read more about a device than its inventory. */
export function mayRead(role: Role | null | undefined): boolean {
  return role ? READ.includes(role) : false;
}

/** Whether a role may change devices and order commands. */
export function mayOperate(role: Role | null | undefined): boolean {
  return role ? OPERATE.includes(role) : false;
}

/** Whether a role may release firmware: all about releases, and what lets a rollout go on. */
export function mayRelease(role: Role | null | undefined): boolean {
  return role ? RELEASE.includes(role) : false;
}

/** Whether a role may bring devices into the fleet, and give them new keys. */
export function mayProvision(role: Role | null | undefined): boolean {
  return role ? PROVISION.includes(role) : false;
}
