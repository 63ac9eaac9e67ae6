/** All that is known, as text to copy, for the person who goes on with it. */

import { useState } from "react";

import type { Investigation, PresenceCounts } from "../../api/types";
import { AreaField } from "../../components/fields";
import { useLanguage } from "../../texts/language";
import { escalationNote } from "./facts";

export function Note({ about, site }: { about: Investigation; site: PresenceCounts | undefined }) {
  const { texts, locale } = useLanguage();
  // A note does not change under the hands of who reads or copies it.
  const [note, setNote] = useState<string>();
  const [copied, setCopied] = useState<boolean>();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(note ?? "");
      setCopied(true);
    } catch {
      setCopied(false);
    }
  };
  return (
    <section className="panel form" aria-labelledby="escalate">
      <h2 id="escalate">{texts.investigate.escalate}</h2>
      <p className="soft">{texts.investigate.escalateHint}</p>
      <div className="row">
        <button
          type="button"
          onClick={() => {
            setNote(escalationNote(about, site, texts, locale));
            setCopied(undefined);
          }}
        >
          {note === undefined ? texts.investigate.write : texts.investigate.writeAgain}
        </button>
        {note !== undefined && (
          <button type="button" onClick={() => void copy()}>
            {texts.investigate.copy}
          </button>
        )}
        <span role="status">
          {copied === true && texts.investigate.copied}
          {copied === false && texts.investigate.notCopied}
        </span>
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
