/** One device: whether it is there, how it is, what it has done. */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";

import { ApiProblem } from "../../api/problem";
import { deviceQuery, investigationQuery } from "../../api/queries";
import { mayOperate, mayRead } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { PresenceBadge, StatusBadge } from "../../components/badges";
import { PageHead } from "../../components/page-head";
import { Loaded } from "../../components/states";
import { useTexts } from "../../texts/language";
import { Findings } from "./findings";
import { Identity } from "./identity";
import { Records } from "./records";
import { Vitals } from "./vitals";

const route = getRouteApi("/devices/$deviceId");

export function DevicePage() {
  const texts = useTexts();
  const me = useMe();
  const { deviceId } = route.useParams();
  const { tab } = route.useSearch();
  const device = useQuery(deviceQuery(deviceId));
  const investigation = useQuery({ ...investigationQuery(deviceId), enabled: mayRead(me.role) });
  if (device.error instanceof ApiProblem && (device.error.status === 404 || device.error.status === 400)) {
    return (
      <>
        <PageHead title={deviceId} />
        <p className="notice warn">{texts.device.unknown(deviceId)}</p>
      </>
    );
  }
  const isRegistered = device.data?.status === "REGISTERED";
  const badges = (
    <>
      {isRegistered && investigation.data && <PresenceBadge presence={investigation.data.presence} />}
      {device.data && <StatusBadge status={device.data.status} />}
    </>
  );
  return (
    <>
      <PageHead title={deviceId} beside={badges} aside={<Actions deviceId={deviceId} isRevoked={device.data?.status === "REVOKED"} />} />
      {mayRead(me.role) && (
        <Loaded query={investigation}>
          {(about) => (
            <>
              <Findings about={about} />
              <Vitals about={about} />
            </>
          )}
        </Loaded>
      )}
      <Loaded query={device}>{(known) => <Identity device={known} about={investigation.data} />}</Loaded>
      {mayRead(me.role) && <Records deviceId={deviceId} tab={tab} history={investigation.data?.firmware_history} />}
    </>
  );
}

/** What can be done with a device, each on a page of its own. */
function Actions({ deviceId, isRevoked }: { deviceId: string; isRevoked: boolean }) {
  const texts = useTexts();
  const me = useMe();
  if (!mayRead(me.role)) return null;
  return (
    <span className="row">
      <Link className="button" to="/devices/$deviceId/investigate" params={{ deviceId }}>
        {texts.investigate.link}
      </Link>
      {mayOperate(me.role) && !isRevoked && (
        <>
          <Link className="button" to="/commands/new" search={{ device_ids: deviceId }}>
            {texts.commands.order}
          </Link>
          <Link className="button" to="/revocation" search={{ device_ids: deviceId }}>
            {texts.revocation.review}
          </Link>
        </>
      )}
    </span>
  );
}
