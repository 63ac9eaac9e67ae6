/** Shows the pages to people who are logged in, and the login to others; over the pages once a session has ended. */

import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState, useSyncExternalStore } from "react";
import { Dialog, Heading, Modal, ModalOverlay } from "react-aria-components";

import { answer, api } from "../api/client";
import { ApiProblem } from "../api/problem";
import * as session from "../api/session";
import type { CurrentUser } from "../api/types";
import { Failed } from "../components/states";
import { LoginForm } from "../pages/login/login-form";
import { LoginPage } from "../pages/login/login-page";
import { useTexts } from "../texts/language";

export function useSession(): session.Session {
  return useSyncExternalStore(session.follow, session.current);
}

/** The person who is logged in; only below a [SessionGate]. */
export function useMe(): CurrentUser {
  const now = useSession();
  if (now.state === "active" || now.state === "expired") return now.me;
  throw new Error("useMe without a session");
}

/** The name of a user without the kind of caller that the API puts before it. */
export function userName(me: CurrentUser): string {
  return me.name.replace(/^user:/, "");
}

/** Ends the session, here and on the server. */
export async function logOut(): Promise<void> {
  await api.POST("/api/logout").catch(() => undefined); // an expired session has ended already
  session.ended();
}

export function SessionGate({ children }: { children: ReactNode }) {
  const now = useSession();
  const queryClient = useQueryClient();
  const [failure, setFailure] = useState<unknown>();

  const ask = () => {
    setFailure(undefined);
    answer(api.GET("/api/me")).then(session.began, (error: unknown) => {
      if (error instanceof ApiProblem && error.status === 401) session.ended();
      else setFailure(error);
    });
  };
  useEffect(ask, []);
  // What one person has seen is not kept for the next.
  useEffect(() => {
    if (now.state === "anonymous") queryClient.clear();
  }, [now.state, queryClient]);

  switch (now.state) {
    case "unknown":
      if (failure === undefined) return null;
      return (
        <main className="login">
          <Failed error={failure} retry={ask} />
        </main>
      );
    case "anonymous":
      return <LoginPage />;
    default:
      return (
        <>
          {children}
          <LoginAgain me={now.me} isOpen={now.state === "expired"} />
        </>
      );
  }
}

/** The login over the page, which stays as it is. Somebody else begins with an empty page. */
function LoginAgain({ me, isOpen }: { me: CurrentUser; isOpen: boolean }) {
  const texts = useTexts();
  const logIn = (next: CurrentUser) => {
    if (next.name === me.name) session.began(next);
    else window.location.reload();
  };
  return (
    <ModalOverlay className="overlay" isOpen={isOpen} isKeyboardDismissDisabled>
      <Modal>
        <Dialog className="dialog form" role="alertdialog">
          <Heading slot="title" level={2}>
            {texts.login.expiredTitle}
          </Heading>
          <p>{texts.login.expiredText}</p>
          <LoginForm name={userName(me)} onLogin={logIn} />
          <button type="button" className="link" onClick={() => session.ended()}>
            {texts.login.other}
          </button>
        </Dialog>
      </Modal>
    </ModalOverlay>
  );
}
