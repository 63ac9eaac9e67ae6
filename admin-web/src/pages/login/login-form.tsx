/** Name and password, as password managers expect them. */

import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useId, useRef, useState } from "react";

import { answer, api } from "../../api/client";
import { ApiProblem, NoAnswer } from "../../api/problem";
import type { CurrentUser } from "../../api/types";
import { problemText } from "../../components/states";
import { useTexts } from "../../texts/language";

interface LoginFormProps {
  /** Fixed if somebody logs in again. */
  readonly name: string;
  readonly onLogin: (me: CurrentUser) => void;
}

export function LoginForm({ name, onLogin }: LoginFormProps) {
  const texts = useTexts();
  const ids = { name: useId(), password: useId(), problem: useId() };
  const password = useRef<HTMLInputElement>(null);
  const [typedName, setTypedName] = useState(name);
  const [typedPassword, setTypedPassword] = useState("");
  const [isIncomplete, setIncomplete] = useState(false);
  const login = useMutation({
    mutationFn: () => answer(api.POST("/api/login", { body: { name: typedName, password: typedPassword } })),
    onSuccess: onLogin,
    onError: () => password.current?.select(),
  });

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const isComplete = typedName !== "" && typedPassword !== "";
    setIncomplete(!isComplete);
    if (isComplete && !login.isPending) login.mutate();
  };
  let problem = "";
  if (isIncomplete) problem = texts.login.required;
  else if (login.error instanceof ApiProblem && login.error.status === 401) problem = texts.login.wrong;
  else if (login.error instanceof ApiProblem && login.error.status === 429) {
    problem = texts.login.wait(String(login.error.retryAfterS ?? 1));
  } else if (login.error instanceof NoAnswer) problem = texts.login.unanswered;
  else if (login.error) problem = problemText(login.error, texts);

  return (
    <form className="form" onSubmit={submit} noValidate>
      <div className="field">
        <label htmlFor={ids.name}>{texts.login.name}</label>
        <input
          id={ids.name}
          name="username"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          maxLength={64}
          autoFocus={name === ""}
          readOnly={name !== ""}
          value={typedName}
          onChange={(event) => setTypedName(event.target.value)}
        />
      </div>
      <div className="field">
        <label htmlFor={ids.password}>{texts.login.password}</label>
        <input
          ref={password}
          id={ids.password}
          name="password"
          type="password"
          autoComplete="current-password"
          maxLength={256}
          autoFocus={name !== ""}
          aria-describedby={ids.problem}
          aria-invalid={problem !== ""}
          value={typedPassword}
          onChange={(event) => setTypedPassword(event.target.value)}
        />
      </div>
      <div id={ids.problem} role="alert">
        {problem !== "" && <p className="notice bad">{problem}</p>}
      </div>
      <button type="submit" className="primary" aria-disabled={login.isPending}>
        {login.isPending ? texts.login.submitting : texts.login.submit}
      </button>
    </form>
  );
}
