/** Ed25519 with the browser's own cryptography, where it has it: on pages over HTTPS or from localhost, in browsers since 2025. */

const ALGORITHM = "Ed25519";
const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/** The bytes of canonical base64 of a fixed length; none of anything else. */
function bytesOf(base64: string, length: number): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || base64.length % 4 !== 0) return undefined;
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const isCanonical = btoa(String.fromCharCode(...bytes)) === base64;
  return bytes.length === length && isCanonical ? bytes : undefined;
}

/** Whether the browser can verify at all. */
export async function isAvailable(): Promise<boolean> {
  // The base point of the curve: a key like any other.
  const base = new Uint8Array(KEY_BYTES).fill(0x66);
  base[0] = 0x58;
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  if (!subtle) return false;
  return subtle.importKey("raw", base, ALGORITHM, false, ["verify"]).then(
    () => true,
    () => false,
  );
}

/** Whether this is the key's signature of these bytes; false also for what is no key or no signature. */
export async function verifies(publicKey: string, signature: string, signed: string): Promise<boolean> {
  const key = bytesOf(publicKey, KEY_BYTES);
  const made = bytesOf(signature, SIGNATURE_BYTES);
  if (!key || !made) return false;
  try {
    const imported = await crypto.subtle.importKey("raw", key, ALGORITHM, false, ["verify"]);
    return await crypto.subtle.verify(ALGORITHM, imported, made, new TextEncoder().encode(signed));
  } catch {
    return false;
  }
}

/** The name of a key: `k` and the first 16 hex digits of its SHA-256; none of what is no key. */
export async function keyIdOf(publicKey: string): Promise<string | undefined> {
  const key = bytesOf(publicKey, KEY_BYTES);
  if (!key) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", key));
  return `k${[...digest.slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
