/** Texte der Sperrung von Geräten, auf Deutsch. */

import type { Texts } from "../en";

const devices = (count: number, shown: string) => `${shown} ${count === 1 ? "Gerät" : "Geräte"}`;

export const revocation: Texts["revocation"] = {
  title: "Geräte sperren",
  about:
    "Ein gesperrtes Gerät wird von da an abgewiesen, was immer es sendet, und seine offenen Befehle werden zurückgenommen. Sperren Sie kein Gerät, weil es still ist.",
  review: "Sperren …",
  reaches: (count, shown) => `${devices(count, shown)} ${count === 1 ? "wird" : "werden"} ab jetzt abgewiesen.`,
  confirmTitle: (count, shown) => `${devices(count, shown)} sperren?`,
  final: "Das ist endgültig. Ein Gerät kommt nur mit einem neuen Schlüssel zurück, den die Fertigung einspielen muss.",
  act: "Sperren",
  done: (count, shown) => `${devices(count, shown)} gesperrt.`,
  see: "Anzeigen",
};
