/** Every page with its address. Pages are loaded when they are first visited. */

import {
  createRootRoute,
  createRoute,
  createRouter,
  type ErrorComponentProps,
  lazyRouteComponent,
  Link,
  redirect,
} from "@tanstack/react-router";

import * as session from "../api/session";
import { Failed, Waiting } from "../components/states";
import { readSelection } from "../components/selection/selection";
import { readAttendance } from "../pages/attendance/filter";
import { readCommandFilter } from "../pages/commands/filter";
import { readAccountsTab } from "../pages/accounts/tab";
import { readAuditFilter } from "../pages/audit/filter";
import { readFilter } from "../pages/devices/filter";
import { readTab } from "../pages/device/tab";
import { readNewRollout } from "../pages/plan/search";
import { readState } from "../pages/rollout/state";
import { readInvestigate } from "../pages/investigate/search";
import { useTexts } from "../texts/language";
import { readQuery, writeQuery } from "./address";
import { pagesOf } from "./pages";
import { Shell } from "./shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

const start = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    const now = session.current();
    const role = now.state === "active" || now.state === "expired" ? now.me.role : null;
    throw redirect({ to: pagesOf(role)[0]?.path ?? "/devices", replace: true });
  },
});

const fleet = createRoute({
  getParentRoute: () => root,
  path: "/fleet",
  component: lazyRouteComponent(() => import("../pages/fleet/fleet-page"), "FleetPage"),
});

const devices = createRoute({
  getParentRoute: () => root,
  path: "/devices",
  validateSearch: readFilter,
  component: lazyRouteComponent(() => import("../pages/devices/devices-page"), "DevicesPage"),
});

const device = createRoute({
  getParentRoute: () => root,
  path: "/devices/$deviceId",
  validateSearch: readTab,
  component: lazyRouteComponent(() => import("../pages/device/device-page"), "DevicePage"),
});

const releases = createRoute({
  getParentRoute: () => root,
  path: "/releases",
  component: lazyRouteComponent(() => import("../pages/releases/releases-page"), "ReleasesPage"),
});

const release = createRoute({
  getParentRoute: () => root,
  path: "/releases/$releaseId",
  component: lazyRouteComponent(() => import("../pages/release/release-page"), "ReleasePage"),
});

const rollouts = createRoute({
  getParentRoute: () => root,
  path: "/rollouts",
  component: lazyRouteComponent(() => import("../pages/rollouts/rollouts-page"), "RolloutsPage"),
});

/** No rollout has this name: the API reserves it. */
const plan = createRoute({
  getParentRoute: () => root,
  path: "/rollouts/plan",
  validateSearch: readNewRollout,
  component: lazyRouteComponent(() => import("../pages/plan/plan-page"), "PlanPage"),
});

const rollout = createRoute({
  getParentRoute: () => root,
  path: "/rollouts/$rolloutId",
  validateSearch: readState,
  component: lazyRouteComponent(() => import("../pages/rollout/rollout-page"), "RolloutPage"),
});

const investigate = createRoute({
  getParentRoute: () => root,
  path: "/devices/$deviceId/investigate",
  validateSearch: readInvestigate,
  component: lazyRouteComponent(() => import("../pages/investigate/investigate-page"), "InvestigatePage"),
});

const commands = createRoute({
  getParentRoute: () => root,
  path: "/commands",
  validateSearch: readCommandFilter,
  component: lazyRouteComponent(() => import("../pages/commands/commands-page"), "CommandsPage"),
});

const newOrder = createRoute({
  getParentRoute: () => root,
  path: "/commands/new",
  validateSearch: readSelection,
  component: lazyRouteComponent(() => import("../pages/commands/order-page"), "OrderPage"),
});

const order = createRoute({
  getParentRoute: () => root,
  path: "/commands/orders/$orderId",
  validateSearch: readCommandFilter,
  component: lazyRouteComponent(() => import("../pages/commands/progress-page"), "ProgressPage"),
});

const attendance = createRoute({
  getParentRoute: () => root,
  path: "/punches",
  validateSearch: readAttendance,
  component: lazyRouteComponent(() => import("../pages/attendance/attendance-page"), "AttendancePage"),
});

const revocation = createRoute({
  getParentRoute: () => root,
  path: "/revocation",
  validateSearch: readSelection,
  component: lazyRouteComponent(() => import("../pages/revocation/revocation-page"), "RevocationPage"),
});

const provisioning = createRoute({
  getParentRoute: () => root,
  path: "/provisioning",
  component: lazyRouteComponent(() => import("../pages/provisioning/provisioning-page"), "ProvisioningPage"),
});

const keys = createRoute({
  getParentRoute: () => root,
  path: "/server-keys",
  component: lazyRouteComponent(() => import("../pages/keys/keys-page"), "KeysPage"),
});

const compromised = createRoute({
  getParentRoute: () => root,
  path: "/server-keys/compromised",
  component: lazyRouteComponent(() => import("../pages/keys/compromised-page"), "CompromisedPage"),
});

const limits = createRoute({
  getParentRoute: () => root,
  path: "/limits",
  component: lazyRouteComponent(() => import("../pages/limits/limits-page"), "LimitsPage"),
});

const users = createRoute({
  getParentRoute: () => root,
  path: "/users",
  validateSearch: readAccountsTab,
  component: lazyRouteComponent(() => import("../pages/accounts/accounts-page"), "AccountsPage"),
});

const audit = createRoute({
  getParentRoute: () => root,
  path: "/audit",
  validateSearch: readAuditFilter,
  component: lazyRouteComponent(() => import("../pages/audit/audit-page"), "AuditPage"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    start,
    fleet,
    devices,
    device,
    investigate,
    releases,
    release,
    rollouts,
    plan,
    rollout,
    commands,
    newOrder,
    order,
    attendance,
    revocation,
    provisioning,
    keys,
    compromised,
    limits,
    users,
    audit,
  ]),
  defaultPendingComponent: Waiting,
  defaultErrorComponent: Broken,
  defaultPreload: "intent",
  scrollRestoration: true,
  parseSearch: readQuery,
  stringifySearch: writeQuery,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

function NotFound() {
  const texts = useTexts();
  return (
    <div className="panel">
      <h1>{texts.notFound}</h1>
      <p>
        <Link to="/">{texts.toFleet}</Link>
      </p>
    </div>
  );
}

/** A page that failed to load or to show. Once the server has been updated, it no longer has the files of pages from before. */
function Broken({ error, reset }: ErrorComponentProps) {
  const texts = useTexts();
  const isOutdated = error instanceof TypeError && error.message.includes("dynamically imported module");
  if (!isOutdated) return <Failed error={error} retry={reset} />;
  return (
    <div className="notice warn form" role="alert">
      <p>{texts.failure.outdated}</p>
      <div>
        <button type="button" onClick={() => window.location.reload()}>
          {texts.failure.reload}
        </button>
      </div>
    </div>
  );
}
