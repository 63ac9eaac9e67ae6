/** The frame around every page: navigation by role, language, who is logged in. */

import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useMatches, useMatchRoute } from "@tanstack/react-router";
import { useEffect, useId, useRef } from "react";

import { followEvents } from "../api/events";
import { PageHead } from "../components/page-head";
import icon from "../styles/icon.svg";
import { LANGUAGES, type Language, useLanguage } from "../texts/language";
import { useKeptFocus } from "./kept-focus";
import { mayRead, maySee, type PageLink, pagesOf } from "./pages";
import { logOut, useMe, userName, useSession } from "./session-gate";
import { Stale } from "./stale";

export function Shell() {
  const { texts, language, choose } = useLanguage();
  const me = useMe();
  const languageId = useId();
  const queryClient = useQueryClient();
  const route: string = useMatches({ select: (matches) => matches.at(-1)?.fullPath ?? "" });
  const main = useRef<HTMLElement>(null);
  useKeptFocus(main);
  const isFollowing = useSession().state === "active" && mayRead(me.role);
  useEffect(() => (isFollowing ? followEvents(queryClient) : undefined), [isFollowing, queryClient]);
  return (
    <div className="shell">
      <a className="skip" href="#main">
        {texts.skipToContent}
      </a>
      <header className="top">
        <Link className="brand" to="/">
          <img src={icon} alt="" />
          {texts.name}
        </Link>
        <div className="who">
          <span className="name">
            {userName(me)}
            {me.role && ` · ${texts.roles[me.role]}`}
          </span>
          <label htmlFor={languageId} className="visually-hidden">
            {texts.language}
          </label>
          <select id={languageId} value={language} onChange={(event) => choose(event.target.value as Language)}>
            {Object.entries(LANGUAGES).map(([tag, name]) => (
              <option key={tag} value={tag} lang={tag}>
                {name}
              </option>
            ))}
          </select>
          <button type="button" onClick={logOut}>
            {texts.login.logout}
          </button>
        </div>
      </header>
      <nav className="nav" aria-label={texts.navigation}>
        <ul>
          {pagesOf(me.role).map((page) => (
            <li key={page.path}>
              <PageLinkInView page={page} />
            </li>
          ))}
        </ul>
      </nav>
      <main ref={main} className="main" id="main" tabIndex={-1}>
        <Stale />
        {maySee(me.role, route) ? <Outlet /> : <NotAllowed />}
      </main>
    </div>
  );
}

/** A page of the navigation. On a phone they are side by side: the current one is brought into view. */
function PageLinkInView({ page }: { page: PageLink }) {
  const { texts } = useLanguage();
  const link = useRef<HTMLAnchorElement>(null);
  const isCurrent = useMatchRoute()({ to: page.path, fuzzy: true }) !== false;
  useEffect(() => {
    const nav = link.current?.closest("nav");
    if (!isCurrent || !nav || !link.current) return;
    const [box, current] = [nav.getBoundingClientRect(), link.current.getBoundingClientRect()];
    nav.scrollLeft += current.left - box.left - (box.width - current.width) / 2;
  }, [isCurrent]);
  return (
    <Link ref={link} to={page.path}>
      {page.name(texts)}
    </Link>
  );
}

/** In place of a page whose address somebody else has sent. */
function NotAllowed() {
  const { texts } = useLanguage();
  const { role } = useMe();
  return (
    <>
      <PageHead title={texts.notAllowed} />
      <p className="notice warn">{texts.notAllowedText(role ? texts.roles[role] : texts.none)}</p>
    </>
  );
}
