/** What to look at first of a device, in the server's words. */

import type { Investigation } from "../../api/types";
import { Said } from "../../components/said";
import { Empty } from "../../components/states";
import { useTexts } from "../../texts/language";

export function Findings({ about }: { about: Investigation }) {
  const texts = useTexts();
  return (
    <section className="panel" aria-labelledby="findings">
      <h2 id="findings">{texts.device.findings}</h2>
      {about.findings.length === 0 ? (
        <Empty>{texts.device.noFindings}</Empty>
      ) : (
        <ul className="notices">
          {about.findings.map((finding) => (
            <li key={finding} className="notice warn">
              <Said text={finding} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
