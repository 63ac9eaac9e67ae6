/** The head of a page: its heading, which is also the title of the window. */

import type { ReactNode } from "react";

import { useTexts } from "../texts/language";

interface PageHeadProps {
  readonly title: string;
  readonly beside?: ReactNode;
  readonly aside?: ReactNode;
}

export function PageHead({ title, beside, aside }: PageHeadProps) {
  return (
    <div className="page-head">
      <title>{`${title} · ${useTexts().name}`}</title>
      <h1>{title}</h1>
      {beside}
      {aside && <div className="aside">{aside}</div>}
    </div>
  );
}
