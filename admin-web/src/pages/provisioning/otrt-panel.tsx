/** Making one-time registration tokens. They are shown once: leaving the page before they are kept is asked about. */

import { useMutation } from "@tanstack/react-query";
import { useBlocker } from "@tanstack/react-router";
import { type FormEvent, lazy, Suspense, useState } from "react";

import { answer, api } from "../../api/client";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { ChoiceField, TextField } from "../../components/fields";
import { Problem, Waiting } from "../../components/states";
import { count } from "../../format/number";
import { duration } from "../../format/time";
import { useLanguage } from "../../texts/language";
import { type Binding, bindingOf, type MadeTokens } from "./binding";

/** The code that draws QR codes is loaded when there is one to draw. */
const load = () => import("./tokens");
const Tokens = lazy(() => load().then(({ Tokens }) => ({ default: Tokens })));

/** More than a person prints. */
const COUNT_MAX = 200;
const HOUR_S = 3_600;
const DAY_S = 24 * HOUR_S;
const LIFETIMES_S = [HOUR_S, DAY_S, 2 * DAY_S, 7 * DAY_S, 30 * DAY_S, 90 * DAY_S];

export function OtrtPanel() {
  const { texts: all, locale } = useLanguage();
  const texts = all.provisioning;
  const [typedCount, setCount] = useState("1");
  const [ttl, setTtl] = useState(String(2 * DAY_S));
  const [binding, setBinding] = useState<Binding>("any");
  const [name, setName] = useState("");
  const make = useMutation({
    mutationFn: async (): Promise<MadeTokens> => {
      // Before they are made: if it can't be loaded, nobody would see them.
      await load();
      const body = { count: Number(typedCount), ttl_s: Number(ttl), ...bindingOf(binding, name) };
      const made = await answer(api.POST("/api/otrts", { body }));
      return { ...made, binding, name: name.trim() };
    },
  });
  const made = make.data;
  const leaving = useBlocker({
    shouldBlockFn: () => true,
    disabled: made === undefined,
    enableBeforeUnload: made !== undefined,
    withResolver: true,
  });
  const number = Number(typedCount);
  const isComplete = Number.isInteger(number) && number >= 1 && number <= COUNT_MAX && (binding === "any" || name.trim() !== "");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (isComplete && !make.isPending) make.mutate();
  };

  return (
    <section className="panel" aria-labelledby="otrts">
      <h2 id="otrts">{texts.otrtTitle}</h2>
      {made ? (
        <Suspense fallback={<Waiting />}>
          <Tokens made={made} done={make.reset} />
        </Suspense>
      ) : (
        <form className="form" onSubmit={submit}>
          <p className="soft">{texts.otrtText}</p>
          <div className="filters even">
            <TextField
              name={texts.count}
              hint={texts.countHint(count(COUNT_MAX, locale))}
              type="number"
              inputMode="numeric"
              min={1}
              max={COUNT_MAX}
              required
              value={typedCount}
              onType={setCount}
            />
            <ChoiceField
              name={texts.validFor}
              value={ttl}
              options={LIFETIMES_S.map((seconds) => [String(seconds), duration(seconds, locale)] as const)}
              onChoose={setTtl}
            />
            <ChoiceField
              name={texts.forWhich}
              value={binding}
              options={(["any", "device", "model"] as const).map((binding) => [binding, texts.binding[binding]] as const)}
              onChoose={setBinding}
            />
            {binding !== "any" && (
              <TextField
                name={binding === "device" ? texts.deviceId : texts.model}
                required
                autoComplete="off"
                maxLength={128}
                value={name}
                onType={setName}
              />
            )}
          </div>
          <div role="alert" className="quiet">
            {make.error && <Problem error={make.error} />}
          </div>
          <div>
            <button type="submit" className="primary" aria-disabled={make.isPending || !isComplete}>
              {make.isPending ? texts.making : texts.make}
            </button>
          </div>
        </form>
      )}
      {leaving.status === "blocked" && made && (
        <ConfirmDialog
          title={texts.leaveTitle}
          actText={texts.leave}
          act={async () => leaving.proceed()}
          close={leaving.reset}
        >
          <p>{texts.leaveText(made.tokens.length, count(made.tokens.length, locale))}</p>
        </ConfirmDialog>
      )}
    </section>
  );
}
