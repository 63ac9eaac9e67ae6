/** Texte zu signierten Dokumenten, auf Deutsch. */

import type { Texts } from "../en";

export const signed: Texts["signed"] = {
  verified: "geprüft",
  refuted: "nicht bestätigt",
  open: "hier nicht prüfbar",
  verifiedBy: (key) =>
    `Ihr Browser ist den Schlüsselsätzen vom festgelegten Schlüssel aus gefolgt, und ${key} hat genau das signiert.`,
  refutation: {
    not_signed: "Es ist nicht signiert.",
    malformed: "Es ist nicht lesbar.",
    unknown_key: "Sein Schlüssel gehört nicht zu denen im Schlüsselsatz des Servers, deren Signatur für Firmware gilt.",
    bad_signature: "Die Signatur ist falsch. Jemand hat es verändert oder mit einem anderen Schlüssel signiert.",
    other_content: "Es ist signiert, aber der Server sagt etwas anderes darüber, als darin steht.",
    expired: "Der Schlüsselsatz des Servers ist abgelaufen.",
    no_chain:
      "Keine Kette von Signaturen führt vom festgelegten Schlüssel zum Schlüsselsatz des Servers: Es ist ein anderer Server, oder jemand hat dessen Schlüssel.",
  },
  obstacle: {
    no_pinned_key: "Diese Seiten wurden ohne den öffentlichen Schlüssel des Servers gebaut (SERVER_PUBLIC_KEY_BASE64).",
    bad_pinned_key:
      "Der öffentliche Schlüssel, mit dem diese Seiten gebaut wurden (SERVER_PUBLIC_KEY_BASE64), ist nicht 32 Bytes in Base64.",
    no_ed25519: "Dieser Browser kann kein Ed25519. Nötig sind ein aktueller Browser und HTTPS oder localhost.",
    unreachable: "Der Schlüsselsatz des Servers ist von dieser Seite aus nicht lesbar.",
    too_long: "Die Kette vom festgelegten Schlüssel ist zu lang; bauen Sie die Seiten mit einem neueren Schlüssel.",
  },
};
