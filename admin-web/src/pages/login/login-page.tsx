/** The page of people who are not logged in. */

import * as session from "../../api/session";
import icon from "../../styles/icon.svg";
import { useTexts } from "../../texts/language";
import { LoginForm } from "./login-form";

export function LoginPage() {
  const texts = useTexts();
  return (
    <main className="login">
      <title>{`${texts.login.title} · ${texts.name}`}</title>
      <div className="panel">
        <div className="row">
          <img src={icon} alt="" width="32" height="32" />
          <h1>{texts.name}</h1>
        </div>
        <LoginForm name="" onLogin={session.began} />
      </div>
    </main>
  );
}
