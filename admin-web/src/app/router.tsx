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
import { readAccountsTab } from "../pages/accounts/tab";
import { readAuditFilter } from "../pages/audit/filter";
import { readFilter } from "../pages/devices/filter";
import { readTab } from "../pages/device/tab";
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
  routeTree: root.addChildren([start, fleet, devices, device, provisioning, keys, compromised, limits, users, audit]),
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
