/** Texts of the revocation of devices. */

const plural = new Intl.PluralRules("en");
const devices = (count: number, shown: string) => `${shown} ${plural.select(count) === "one" ? "device" : "devices"}`;

export const revocation = {
  title: "Revoke devices",
  about:
    "A revoked device is refused from then on, whatever it sends, and its open commands are canceled. Do not revoke a device because it is silent.",
  review: "Revoke…",
  reaches: (count: number, shown: string) => `${devices(count, shown)} will be refused from now on.`,
  confirmTitle: (count: number, shown: string) => `Revoke ${devices(count, shown)}?`,
  final: "This is final. A device comes back only with a new key, which the factory has to put into it.",
  act: "Revoke them",
  done: (count: number, shown: string) => `${devices(count, shown)} revoked.`,
  see: "Show them",
};
