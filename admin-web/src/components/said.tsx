/** What the server says in words of its own, which are English and have times in UTC: here the times are as everywhere on the page. */

import { split } from "../format/said";
import { Moment } from "./time";

export function Said({ text, className }: { text: string; className?: string }) {
  return (
    <span lang="en" className={className}>
      {split(text).map((part, place) => (typeof part === "string" ? part : <Moment key={place} at={part.at} />))}
    </span>
  );
}
