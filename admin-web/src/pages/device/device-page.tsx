/** One device: whether it is there, how it is, what it has done. */

import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";

import { ApiProblem } from "../../api/problem";
import { deviceQuery, investigationQuery } from "../../api/queries";
import type { Investigation } from "../../api/types";
import { mayRead } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { PresenceBadge, StatusBadge } from "../../components/badges";
import { PageHead } from "../../components/page-head";
import { Empty, Loaded } from "../../components/states";
import { useTexts } from "../../texts/language";
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
      <PageHead title={deviceId} beside={badges} />
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

function Findings({ about }: { about: Investigation }) {
  const texts = useTexts();
  return (
    <section className="panel" aria-labelledby="findings">
      <h2 id="findings">{texts.device.findings}</h2>
      {about.findings.length === 0 ? (
        <Empty>{texts.device.noFindings}</Empty>
      ) : (
        <ul className="notices">
          {about.findings.map((finding) => (
            <li key={finding} className="notice warn">
              {finding}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
