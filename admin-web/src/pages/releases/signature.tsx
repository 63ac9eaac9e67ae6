/** Who has signed a release, and whether that key is on the server. */

import type { KeysStatus, Release } from "../../api/types";
import { useTexts } from "../../texts/language";

type Signer = "willSign" | "firmware" | "server" | "gone";

/** What the signing key of a release is, by the keyset; none as long as the keyset is not known. */
export function signerOf(release: Pick<Release, "signed" | "key_id">, keys: KeysStatus | undefined): Signer | undefined {
  if (!release.signed) return "willSign";
  if (!keys) return undefined;
  const key = keys.keys.find(({ key_id }) => key_id === release.key_id);
  if (!key || key.status === "REMOVED") return "gone";
  if (key.status === "FIRMWARE") return "firmware";
  // Once the keyset has a firmware key, no other key's signature counts.
  return keys.keys.some(({ status }) => status === "FIRMWARE") ? "gone" : "server";
}

export function SignatureText({ release, keys }: { release: Release; keys: KeysStatus | undefined }) {
  const texts = useTexts().releases;
  const signer = signerOf(release, keys);
  if (!signer) return <code>{release.key_id}</code>;
  return <span title={signer === "firmware" ? texts.firmwareKeyHelp : undefined}>{texts.signer[signer](release.key_id)}</span>;
}
