/** New one-time registration tokens as cards with a QR code, to print or to save. */

import { moment, utc } from "../../format/time";
import { count } from "../../format/number";
import { save } from "../../format/save";
import { useLanguage } from "../../texts/language";
import type { MadeTokens } from "./binding";
import { QrCode } from "./qr-code";

interface TokensProps {
  readonly made: MadeTokens;
  /** The person has kept them; they are gone from here. */
  readonly done: () => void;
}

export function Tokens({ made, done }: TokensProps) {
  const { texts: all, locale } = useLanguage();
  const texts = all.provisioning;
  const shown = count(made.tokens.length, locale);
  const expires = new Date(made.expires_at);
  const allowed = { any: texts.forAny, device: texts.forDevice(made.name), model: texts.forModel(made.name) }[made.binding];
  return (
    <>
      <div className="notice warn" role="status">
        <strong>{texts.made(made.tokens.length, shown)}</strong>
        <p>{texts.madeText}</p>
      </div>
      <div className="row">
        <button type="button" className="primary" autoFocus onClick={() => window.print()}>
          {texts.print}
        </button>
        <button type="button" onClick={() => save("otrts.txt", `${made.tokens.join("\n")}\n`, "text/plain")}>
          {texts.saveAsText}
        </button>
        <button type="button" onClick={done}>
          {texts.kept}
        </button>
      </div>
      <ul className="cards">
        {made.tokens.map((token) => (
          <li key={token} className="card">
            <QrCode text={token} name={texts.qrOf(token)} />
            <div>
              <code>{token}</code>
              <p>{allowed}</p>
              <p title={utc(expires)}>{texts.validUntil(moment(expires, new Date(), locale))}</p>
            </div>
          </li>
        ))}
      </ul>
    </>
  );
}
