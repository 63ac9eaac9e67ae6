/** The server's keys: which there are, who knows them, and their rotation. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import type { KeysStatus, ServerKey } from "../../api/types";
import { useMe } from "../../app/session-gate";
import { List } from "../../components/list";
import { PageHead } from "../../components/page-head";
import { Loaded } from "../../components/states";
import { Moment } from "../../components/time";
import { count } from "../../format/number";
import { useLanguage, useTexts } from "../../texts/language";
import { KeysetProof } from "./keyset-proof";
import { DeviceLinks, KeyBadge, watchedKeysQuery } from "./parts";
import { RotationPanel } from "./rotation-panel";

export function KeysPage() {
  const texts = useTexts().keys;
  const keys = useQuery(watchedKeysQuery);
  return (
    <>
      <PageHead title={texts.title} />
      <Loaded query={keys}>
        {(status) => (
          <>
            <Figures status={status} />
            <KeysetProof status={status} />
            {status.unknown_keyset_devices.length > 0 && <Unknown devices={status.unknown_keyset_devices} />}
            <RotationPanel status={status} />
            <AllKeys keys={status.keys} />
          </>
        )}
      </Loaded>
    </>
  );
}

function Figures({ status }: { status: KeysStatus }) {
  const { texts: all, locale } = useLanguage();
  const texts = all.keys;
  const shown = (value: number) => count(value, locale);
  return (
    <dl className="figures">
      <div className="figure">
        <dt>{texts.keyset(String(status.keyset_version))}</dt>
        <dd className="small">
          {texts.validUntil} <Moment at={status.expires_at} />
        </dd>
      </div>
      <div className="figure">
        <dt>{texts.confirmedName}</dt>
        <dd title={texts.active}>{texts.confirmed(shown(status.confirmed_devices), shown(status.active_devices))}</dd>
      </div>
      <div className="figure">
        <dt>{texts.wouldStrand}</dt>
        <dd>{shown(status.stranded_devices)}</dd>
      </div>
    </dl>
  );
}

function Unknown({ devices }: { devices: readonly string[] }) {
  const texts = useTexts().keys;
  return (
    <section className="panel" aria-labelledby="unknown">
      <h2 id="unknown">{texts.unknownTitle}</h2>
      <p className="notice bad">{texts.unknown}</p>
      <DeviceLinks devices={devices} />
    </section>
  );
}

function AllKeys({ keys }: { keys: readonly ServerKey[] }) {
  const texts = useTexts().keys;
  const me = useMe();
  return (
    <section className="panel dense" aria-labelledby="all-keys">
      <h2 id="all-keys">{texts.allKeys}</h2>
      <List
        heads={[texts.key, texts.state, texts.announced, texts.signingSince, texts.removed]}
        rows={[...keys].reverse()}
        rowKey={(key) => key.key_id}
        cells={(key) => [
          <code key="id">{key.key_id}</code>,
          <KeyBadge key="state" status={key.status} />,
          <Moment key="announced" at={key.announced_at} />,
          key.signing_at ? <Moment key="signing" at={key.signing_at} /> : "",
          key.removed_at ? <Moment key="removed" at={key.removed_at} /> : "",
        ]}
        empty={texts.noKeys}
      />
      {me.role === "admin" && (
        <p>
          <Link to="/server-keys/compromised">{texts.compromisedLink}</Link>
        </p>
      )}
    </section>
  );
}
