/** Texts of signed records that are verified in the browser. */

export const signed = {
  verified: "verified",
  refuted: "not verified",
  open: "cannot be verified here",
  verifiedBy: (key: string) => `this browser has followed the keysets from the pinned key, and ${key} has signed exactly this.`,
  refutation: {
    not_signed: "it has no signature.",
    malformed: "it cannot be read.",
    unknown_key: "its key is none of those in the server's keyset whose signature counts for firmware.",
    bad_signature: "its signature is wrong. Somebody has changed it, or signed it with another key.",
    other_content: "it is signed, but the server says something else about it than it says itself.",
    expired: "the server's keyset has expired.",
    no_chain: "no chain of signatures leads from the pinned key to the server's keyset: this is another server, or somebody has its keys.",
  },
  obstacle: {
    no_pinned_key: "these pages were built without the server's public key (SERVER_PUBLIC_KEY_BASE64).",
    bad_pinned_key: "the public key that these pages were built with (SERVER_PUBLIC_KEY_BASE64) is not 32 bytes of base64.",
    no_ed25519: "this browser has no Ed25519. It needs a current browser, and HTTPS or localhost.",
    unreachable: "the server's keyset could not be read from this page.",
    too_long: "the chain from the pinned key is too long to follow here; build the pages with a newer key.",
  },
};
