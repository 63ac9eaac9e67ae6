/** All releases, the newest first, and the way to a new one. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { keysQuery, releasesQuery } from "../../api/queries";
import { mayRelease } from "../../app/pages";
import { useMe } from "../../app/session-gate";
import { ReleaseBadge } from "../../components/badges";
import { List } from "../../components/list";
import { PageHead } from "../../components/page-head";
import { Loaded } from "../../components/states";
import { Moment } from "../../components/time";
import { useTexts } from "../../texts/language";
import { NewReleaseDialog } from "./new-release-dialog";
import { SignatureText } from "./signature";

export function ReleasesPage() {
  const texts = useTexts().releases;
  const me = useMe();
  const releases = useQuery(releasesQuery);
  const keys = useQuery(keysQuery);
  const [isAdding, setAdding] = useState(false);
  const add = mayRelease(me.role) && (
    <button type="button" className="primary" onClick={() => setAdding(true)}>
      {texts.add}
    </button>
  );
  return (
    <>
      <PageHead title={texts.title} aside={add} />
      <section className="panel" aria-label={texts.title}>
        <Loaded query={releases}>
          {(all) => (
            <List
              heads={[texts.release, texts.version, texts.counter, texts.models, texts.state, texts.signature, texts.changed]}
              rows={[...all].reverse()}
              rowKey={(release) => release.release_id}
              cells={(release) => [
                <Link key="id" to="/releases/$releaseId" params={{ releaseId: release.release_id }}>
                  {release.release_id}
                </Link>,
                release.version,
                String(release.release_counter),
                release.models.join(", "),
                <ReleaseBadge key="state" state={release.state} />,
                <SignatureText key="signature" release={release} keys={keys.data} />,
                <Moment key="changed" at={release.changed_at} />,
              ]}
              empty={texts.empty}
            />
          )}
        </Loaded>
      </section>
      {isAdding && <NewReleaseDialog releases={releases.data ?? []} close={() => setAdding(false)} />}
    </>
  );
}
