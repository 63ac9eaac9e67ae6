/** Saving a change of what a person has seen. What somebody else has changed meanwhile is shown beside it, never overwritten. */

import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import { ApiProblem } from "../api/problem";
import { useTexts } from "../texts/language";

/** The header that makes the server refuse a change of another version than this one. */
export const ifMatch = (version: number | string) => ({ "If-Match": `"${version}"` });

const isConflict = (error: unknown) => error instanceof ApiProblem && error.status === 412;

interface Guarded<Seen> {
  /** What the page shows when the form is opened; what is saved is a change of this one. */
  readonly first: Seen;
  /** Sends the change, with [ifMatch] of what was seen. */
  readonly save: (seen: Seen) => Promise<unknown>;
  /** Reads it again, after the server has refused. */
  readonly readAgain: () => Promise<Seen>;
  readonly onSaved: () => unknown;
}

export function useGuardedSave<Seen>({ first, save, readAgain, onSaved }: Guarded<Seen>) {
  const [seen, setSeen] = useState(first);
  const [theirs, setTheirs] = useState<Seen>();
  const saving = useMutation({
    mutationFn: async () => {
      try {
        await save(seen);
      } catch (error) {
        if (!isConflict(error)) throw error;
        setTheirs(await readAgain());
        return;
      }
      await onSaved();
    },
  });
  return {
    seen,
    submit: () => saving.mutate(),
    isBusy: saving.isPending,
    error: saving.error,
    /** The version of somebody else; none without a conflict. */
    theirs,
    /** Goes on from the version of somebody else, which becomes the one that was seen. */
    resolve: () => {
      if (theirs !== undefined) setSeen(theirs);
      setTheirs(undefined);
      saving.reset();
    },
  };
}

interface ConflictProps {
  /** Both versions, in words or as a list of what differs. */
  readonly theirs: ReactNode;
  readonly mine: ReactNode;
  readonly takeTheirs: () => void;
  readonly keepMine: () => void;
}

/** Both versions, and which one goes on. */
export function Conflict({ theirs, mine, takeTheirs, keepMine }: ConflictProps) {
  const texts = useTexts().dialog;
  return (
    <>
      <p className="notice warn" role="alert">
        {texts.conflict}
      </p>
      <dl className="facts">
        <div>
          <dt>{texts.conflictTheirs}</dt>
          <dd>{theirs}</dd>
        </div>
        <div>
          <dt>{texts.conflictMine}</dt>
          <dd>{mine}</dd>
        </div>
      </dl>
      <div className="row">
        <button type="button" className="primary" onClick={takeTheirs}>
          {texts.takeTheirs}
        </button>
        <button type="button" onClick={keepMine}>
          {texts.keepMine}
        </button>
      </div>
    </>
  );
}
