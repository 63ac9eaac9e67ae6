/** Says so when a tab is out of date: the server has newer pages by now, or somebody else has logged in in another tab. */

import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";

import { answer, api } from "../api/client";
import * as session from "../api/session";
import { useTexts } from "../texts/language";
import { useMe, userName } from "./session-gate";
import { isOutdated } from "./stale-page";

/** How often is asked; also whenever the tab comes to the front. */
const ASK_MS = 5 * 60_000;

/** The script that this tab runs, by its address without the host. */
function ownScript(): string {
  const script = document.querySelector<HTMLScriptElement>('script[type="module"][src]');
  return script ? new URL(script.src).pathname : "";
}

export function Stale() {
  const texts = useTexts().stale;
  const me = useMe();
  const watched = { refetchInterval: ASK_MS, refetchOnWindowFocus: "always", retry: false } as const;
  const page = useQuery({
    ...watched,
    queryKey: ["page"],
    queryFn: async ({ signal }) => {
      const response = await fetch("/", { signal, cache: "no-cache", headers: { accept: "text/html" } });
      return response.ok && isOutdated(await response.text(), ownScript());
    },
  });
  // Not by `useMe`: that is who logged in here.
  const now = useQuery({ ...watched, queryKey: ["me"], queryFn: ({ signal }) => answer(api.GET("/api/me", { signal })) });
  const known = now.data;
  // Another role shows other pages and buttons at once, nothing typed is lost.
  useEffect(() => {
    if (known && known.name === me.name && known.role !== me.role && session.current().state === "active") session.began(known);
  }, [known, me]);
  const isOther = now.data !== undefined && now.data.name !== me.name;
  return (
    <div role="status" className="quiet notices">
      {isOther && <p className="notice bad row">{texts.other(userName(now.data))} <Reload /></p>}
      {!isOther && page.data && <p className="notice warn row">{texts.updated} <Reload /></p>}
    </div>
  );
}

function Reload() {
  return (
    <button type="button" onClick={() => window.location.reload()}>
      {useTexts().stale.reload}
    </button>
  );
}
