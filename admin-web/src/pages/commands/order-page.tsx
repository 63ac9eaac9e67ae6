/** Ordering a command: which devices, how many that are, which command, and until when. */

import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { answer, api } from "../../api/client";
import type { CommandOrder, DeviceSelector, SelectedPresence } from "../../api/types";
import { ConfirmDialog } from "../../components/confirm-dialog";
import { ChoiceField } from "../../components/fields";
import { PageHead } from "../../components/page-head";
import { checkReach, Reach, useSelected } from "../../components/selection/reach";
import { hits, type Selection, selectionOf, wordOf } from "../../components/selection/selection";
import { SelectionFields } from "../../components/selection/selection-fields";
import { count } from "../../format/number";
import { duration } from "../../format/time";
import { useLanguage } from "../../texts/language";
import { CommandFields } from "./command-fields";
import { commandOf, NO_COMMAND, TTLS_S } from "./typed-command";

const route = getRouteApi("/commands/new");

export function OrderPage() {
  const { texts, locale } = useLanguage();
  const search = route.useSearch();
  const [selection, setSelection] = useState(() => selectionOf(search));
  const [typed, setTyped] = useState(NO_COMMAND);
  const [ttlS, setTtlS] = useState<number>(TTLS_S[1]);
  const [asked, setAsked] = useState<Asked>();
  const reach = useSelected(selection);
  const { which, selected } = reach;
  const command = commandOf(typed);
  const ask = () => {
    if (which && selected && command && hits(selected) > 0) setAsked({ which, selected, command, selection, ttlS });
  };
  return (
    <>
      <PageHead title={texts.commands.order} />
      <form
        className="panel form"
        onSubmit={(event) => {
          event.preventDefault();
          ask();
        }}
      >
        <SelectionFields selection={selection} onChange={setSelection} />
        <fieldset className="fieldset">
          <legend>{texts.commands.what}</legend>
          <CommandFields typed={typed} onChange={setTyped} />
          <ChoiceField
            name={texts.commands.expiry}
            hint={texts.commands.expiryHint}
            value={String(ttlS)}
            options={TTLS_S.map((seconds) => [String(seconds), duration(seconds, locale)] as const)}
            onChoose={(seconds) => setTtlS(Number(seconds))}
          />
        </fieldset>
        <div>
          <button type="submit" className="primary" aria-disabled={!(selected && command && hits(selected) > 0)}>
            {texts.commands.review}
          </button>
        </div>
      </form>
      <Reach selection={selection} {...reach} says={texts.commands.reaches} />
      {asked && <OrderDialog asked={asked} close={() => setAsked(undefined)} />}
    </>
  );
}

/** What was asked for when the dialog was opened; the page may count again meanwhile. */
interface Asked {
  readonly which: DeviceSelector;
  readonly selected: SelectedPresence;
  readonly selection: Selection;
  readonly command: CommandOrder;
  readonly ttlS: number;
}

function OrderDialog({ asked, close }: { asked: Asked; close: () => void }) {
  const { texts, locale } = useLanguage();
  const navigate = useNavigate();
  const { which, selected, selection, command, ttlS } = asked;
  const devices = hits(selected);
  // The same order, sent again after a lost answer, is carried out once.
  const [client_token] = useState(() => crypto.randomUUID());
  const order = async () => {
    await checkReach(which, selected, texts);
    const body = { which, command, ttl_s: ttlS, client_token };
    const { order_id } = await answer(api.POST("/api/commands", { body }));
    await navigate({ to: "/commands/orders/$orderId", params: { orderId: order_id } });
  };
  return (
    <ConfirmDialog
      title={texts.commands.confirmTitle(command.kind)}
      actText={texts.commands.act}
      {...(devices > 1 ? { typed: wordOf(selection, selected) } : {})}
      act={order}
      close={close}
    >
      <p className="notice warn">{texts.commands.reaches(devices, count(devices, locale))}</p>
      {command.kind !== "fetch_logs" && <p>{texts.commands.effect[command.kind]}</p>}
      <p className="soft">{texts.commands.until(duration(ttlS, locale))}</p>
    </ConfirmDialog>
  );
}
