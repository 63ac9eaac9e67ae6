/** All that is known, as text to copy, for the person who goes on with it. */

import { useState } from "react";

import type { Investigation, PresenceCounts } from "../../api/types";
import { CopyButton } from "../../components/copy-button";
import { AreaField } from "../../components/fields";
import { useLanguage } from "../../texts/language";
import { escalationNote } from "./facts";

export function Note({ about, site }: { about: Investigation; site: PresenceCounts | undefined }) {
  const { texts, locale } = useLanguage();
  // A note does not change under the hands of who reads or copies it.
  const [note, setNote] = useState<string>();
  return (
    <section className="panel form" aria-labelledby="escalate">
      <h2 id="escalate">{texts.investigate.escalate}</h2>
      <p className="soft">{texts.investigate.escalateHint}</p>
      <div className="row">
        <button
          type="button"
          onClick={() => setNote(escalationNote(about, site, texts, locale))}
        >
          {note === undefined ? texts.investigate.write : texts.investigate.writeAgain}
        </button>
        {note !== undefined && <CopyButton text={note} name={texts.investigate.copy} />}
      </div>
      {note !== undefined && (
        <AreaField
          name={texts.investigate.note}
          className="mono"
          rows={Math.min(30, note.split("\n").length + 1)}
          spellCheck={false}
          value={note}
          onType={setNote}
        />
      )}
    </section>
  );
}
