//! Private keys in PEM, in the variants found in practice: PKCS#8 version 1, and version 2 as RFC 5958 and ring write it; with spaces,
//! a byte-order mark, quotes, or line breaks written as `\n`. Errors name any other kind of key.

use base64ct::{Base64, Encoding};

/// Why a text holds no usable private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPem {
    /// No PEM at all.
    #[error("not a PEM: the line `-----BEGIN PRIVATE KEY-----` is missing")]
    None,
    /// More than one PEM block.
    #[error("it holds {0}, expected one PRIVATE KEY and nothing else")]
    Several(String),
    /// Another kind of PEM.
    #[error("it holds {0}")]
    Other(&'static str),
    /// A key of another algorithm.
    #[error("it is a private key for {0}, expected Ed25519")]
    Algorithm(String),
    /// The public half of another key.
    #[error("its public half does not match its private half: the file is damaged, or was put together from two keys")]
    PublicHalf,
    /// Malformed content.
    #[error("its PEM is damaged: {0}")]
    Damaged(&'static str),
}

/// The error text for another kind of PEM, by its label.
const OTHERS: [(&str, &str); 6] = [
    (
        "ENCRYPTED PRIVATE KEY",
        "an encrypted private key, expected one without a password: `openssl pkey -in FILE -out PLAIN` removes it",
    ),
    ("OPENSSH PRIVATE KEY", "an OpenSSH private key, expected PKCS#8: `openssl genpkey -algorithm ed25519` makes one"),
    ("EC PRIVATE KEY", "a private key for an elliptic curve such as P-256 (SEC 1), expected Ed25519 in PKCS#8"),
    ("RSA PRIVATE KEY", "a private key for RSA, expected Ed25519 in PKCS#8"),
    ("PUBLIC KEY", "a public key, expected the private one"),
    ("CERTIFICATE", "a certificate, expected a private key"),
];

/// The seed of the Ed25519 key in `text`, and its public half if it is included.
///
/// # Errors
/// What `text` holds instead.
pub(crate) fn read(text: &str) -> Result<([u8; 32], Option<[u8; 32]>), InvalidPem> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    let text = unquoted.unwrap_or(text).replace("\\r", "").replace("\\n", "\n");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let marked = |line: &&str, mark: &str| Some(line.strip_prefix(mark)?.strip_suffix("-----")?.to_owned());
    let labels: Vec<String> = lines.iter().filter_map(|line| marked(line, "-----BEGIN ")).collect();
    let labels: Vec<String> = labels.into_iter().filter(|label| label != "EC PARAMETERS").collect(); // belongs to the next one
    let label = match labels.as_slice() {
        [] => return Err(InvalidPem::None),
        [label] => label,
        several => return Err(InvalidPem::Several(several.join(" and "))),
    };
    if let Some((_, other)) = OTHERS.iter().find(|(known, _)| known == label) {
        return Err(InvalidPem::Other(other));
    }
    if label != "PRIVATE KEY" {
        return Err(InvalidPem::Other("something else than a PRIVATE KEY"));
    }
    let inside = lines.iter().skip_while(|line| marked(line, "-----BEGIN ").is_none()).skip(1);
    let mut is_ended = false;
    let base64: String = inside
        .take_while(|line| {
            is_ended = marked(line, "-----END ").is_some();
            !is_ended
        })
        .copied()
        .collect();
    if !is_ended {
        return Err(InvalidPem::Damaged("the line `-----END PRIVATE KEY-----` is missing"));
    }
    let der = Base64::decode_vec(&base64).map_err(|_| InvalidPem::Damaged("the content is not base64"))?;
    key_in(&der)
}

/// The tag and the content of the first DER value, and what follows it. Lengths of up to 65 535 bytes.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of the first DER value, which must have this tag, and what follows it.
fn expect(tag: u8, der: &[u8]) -> Result<(&[u8], &[u8]), InvalidPem> {
    match value(der) {
        Some((found, content, rest)) if found == tag => Ok((content, rest)),
        _ => Err(InvalidPem::Damaged("the content is not PKCS#8")),
    }
}

/// PKCS#8: SEQUENCE of version, algorithm, private key, then perhaps attributes (`[0]`) and the public key (`[1]`), which RFC 5958
/// writes as the bit string itself and ring as one more value around it.
fn key_in(der: &[u8]) -> Result<([u8; 32], Option<[u8; 32]>), InvalidPem> {
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    let wrong_length = || InvalidPem::Damaged("an Ed25519 key has 32 bytes; this one does not");
    let (pkcs8, after) = expect(0x30, der)?;
    if !after.is_empty() {
        return Err(InvalidPem::Damaged("there is data after its PKCS#8"));
    }
    let (_version, rest) = expect(0x02, pkcs8)?;
    let (algorithm, rest) = expect(0x30, rest)?;
    let (oid, parameters) = expect(0x06, algorithm)?;
    if oid != ED25519 {
        return Err(InvalidPem::Algorithm(algorithm_name(oid, parameters)));
    }
    let (wrapped, mut rest) = expect(0x04, rest)?;
    let (seed, _) = expect(0x04, wrapped)?;
    let seed = seed.try_into().map_err(|_| wrong_length())?;
    let mut public = None;
    while let Some((tag, content, next)) = value(rest) {
        let bits = match tag {
            0x81 => Some(content),
            0xa1 => Some(expect(0x03, content)?.0),
            _ => None,
        };
        if let Some(bits) = bits {
            let key = bits.split_first().filter(|(unused_bits, _)| **unused_bits == 0).map(|(_, key)| key);
            public = Some(key.and_then(|key| key.try_into().ok()).ok_or_else(wrong_length)?);
        }
        rest = next;
    }
    Ok((seed, public))
}

/// The algorithm's name; for an unknown one, its object identifier in hex.
fn algorithm_name(oid: &[u8], parameters: &[u8]) -> String {
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => match expect(0x06, parameters) {
            Ok((P256, _)) => "the elliptic curve P-256",
            _ => "another elliptic curve",
        }
        .to_owned(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, ..] => "RSA".to_owned(),
        [0x2b, 0x65, 0x6e] => "X25519".to_owned(),
        [0x2b, 0x65, 0x6f] => "X448".to_owned(),
        [0x2b, 0x65, 0x71] => "Ed448".to_owned(),
        other => format!("an unknown algorithm (object identifier {})", crate::text::hex(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{InvalidKey, PrivateKey};

    /// A throw-away key for P-256, as `openssl genpkey` writes it.
    const P256: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMz+oUiFi0QT8IqZM\nKWI7h3RysnYZgU3i3S+1vGJQynyhRANCAARxXGdxPCvwAMJA8fl/jxRvQgHjb/uk\np9hH9j3oUTxD22exO2EeTVzsxXcmhCVzXQ3LuSMrxZWrLvPGqQ4cJlkW\n-----END PRIVATE KEY-----";
    const X25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIAgjkAwqwQKLy0EHRjHD1+QuKFBIhdEDnxPEwVX8cQNO\n-----END PRIVATE KEY-----";

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", Base64::encode_string(der))
    }

    fn key() -> PrivateKey {
        PrivateKey::from_seed(&[7; 32])
    }

    /// PKCS#8 of version 2, with the public key as these bytes say.
    fn version_2(public: &[u8]) -> String {
        let start = [0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let content = [&start[..], &[7; 32], public].concat();
        pem("PRIVATE KEY", &[&[0x30, u8::try_from(content.len()).unwrap()], content.as_slice()].concat())
    }

    fn as_rfc_5958(public: [u8; 32]) -> String {
        version_2(&[&[0x81, 0x21, 0x00], public.as_slice()].concat())
    }

    fn as_ring(public: [u8; 32]) -> String {
        version_2(&[&[0xa1, 0x23, 0x03, 0x21, 0x00], public.as_slice()].concat())
    }

    #[test]
    fn common_variants_are_accepted() {
        let (plain, public) = (key().to_pem().unwrap(), key().public_key().0);
        let one_line = plain.trim_end().replace('\n', "\\n");
        for text in [
            plain.clone(),
            one_line.clone(),
            format!("\"{one_line}\""),
            format!("'{plain}'"),
            format!("\u{feff}{plain}"),
            plain.replace('\n', "  \r\n"),
            format!("\n\n  {}\n", plain.replace('\n', "\n  ")),
            format!("Bag Attributes\n    localKeyID: 01\n{plain}"),
            as_rfc_5958(public),
            as_ring(public),
            version_2(&[]),
        ] {
            assert_eq!(PrivateKey::from_pem(&text).map(|key| key.public_key()), Ok(key().public_key()), "{text}");
        }
    }

    #[test]
    fn errors_name_other_kinds_of_keys() {
        let plain = key().to_pem().unwrap();
        let other = PrivateKey::from_seed(&[8; 32]).public_key().0;
        let no_end = plain.split("-----END").next().unwrap();
        for (text, named) in [
            ("", "not a PEM"),
            ("AAAA", "not a PEM"),
            (P256, "for the elliptic curve P-256, expected Ed25519"),
            (X25519, "for X25519, expected Ed25519"),
            (&pem("ENCRYPTED PRIVATE KEY", &[1]), "an encrypted private key"),
            (&pem("OPENSSH PRIVATE KEY", &[1]), "an OpenSSH private key"),
            (&(pem("EC PARAMETERS", &[1]) + &pem("EC PRIVATE KEY", &[1])), "such as P-256 (SEC 1)"),
            (&pem("PUBLIC KEY", &[1]), "a public key, expected the private one"),
            (&format!("{plain}{plain}"), "it holds PRIVATE KEY and PRIVATE KEY, expected one"),
            (&as_rfc_5958(other), "its public half does not match"),
            (&as_ring(other), "its public half does not match"),
            (no_end, "`-----END PRIVATE KEY-----` is missing"),
            (&pem("PRIVATE KEY", &[0x30, 0x82, 0xff, 0xff]), "is not PKCS#8"),
            (&plain.replace("MC4", "M_4"), "is not base64"),
        ] {
            let error = PrivateKey::from_pem(text).unwrap_err();
            assert!(matches!(error, InvalidKey::Pem(_)) && error.to_string().contains(named), "{text}\n{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn damaged_keys_never_panic(at in 0_usize..83, byte: u8, cut in 0_usize..90) {
            let mut der = Base64::decode_vec(as_ring(key().public_key().0).lines().nth(1).unwrap()).unwrap();
            der[at.min(82)] = byte;
            der.truncate(cut);
            let _ = PrivateKey::from_pem(&pem("PRIVATE KEY", &der));
        }
    }
}
