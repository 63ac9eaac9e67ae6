//! Checks a request's head before anything else: its host, and the framing of its body. An ambiguous head is refused, because a
//! proxy in between may have read it differently.

use std::net::Ipv6Addr;

use hyper::{
    HeaderMap, StatusCode, Version,
    header::{HOST, HeaderValue, TRANSFER_ENCODING},
};

/// The status that refuses a request for its head alone; none if the head is valid.
pub(super) fn refused(version: Version, headers: &HeaderMap) -> Option<StatusCode> {
    if !has_one_host(version, headers) {
        return Some(StatusCode::BAD_REQUEST);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    if version < Version::HTTP_11 {
        return Some(StatusCode::BAD_REQUEST); // RFC 9112, 6.1: this version has no transfer codings
    }
    let is_chunked = codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if is_chunked { None } else { Some(StatusCode::NOT_IMPLEMENTED) }
}

/// Whether the request names exactly one host, as HTTP/1.1 requires (RFC 9112, 3.2).
fn has_one_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
    }
}

/// Whether it is a name or an address, with an optional port.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let (is_valid, port) = if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        (!name.is_empty() && name.bytes().all(is_name), port)
    };
    is_valid && (port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn status_of(version: Version, lines: &[(HeaderName, &str)]) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        refused(version, &headers).map(|status| status.as_u16())
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in [
            "a",
            "ks.example.com",
            "ks.example.com:443",
            "127.0.0.1:3000",
            "[::1]",
            "[::1]:3000",
            "xn--bcher-kva.example",
            "a_b",
        ] {
            assert_eq!(status_of(Version::HTTP_11, &[(HOST, good)]), None, "{good}");
        }
        for bad in [
            "",
            " ",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a@b",
            "u:p@a",
            "a:b",
            "a:-1",
            "a:99999",
            ":80",
            "a,b",
            "a\\b",
            "[::1",
            "::1",
            "<a>",
            "b\u{fc}cher",
            "\"a\"",
        ] {
            for version in [Version::HTTP_10, Version::HTTP_11] {
                assert_eq!(status_of(version, &[(HOST, bad)]), Some(400), "{bad}");
            }
        }
        assert_eq!(status_of(Version::HTTP_11, &[(HOST, "a"), (HOST, "a")]), Some(400));
        assert_eq!((status_of(Version::HTTP_11, &[]), status_of(Version::HTTP_10, &[])), (Some(400), None));
    }

    #[test]
    fn chunked_alone_is_the_only_known_coding() {
        let with = |coding: &str| status_of(Version::HTTP_11, &[(HOST, "a"), (TRANSFER_ENCODING, coding)]);
        for good in ["chunked", "Chunked", "CHUNKED"] {
            assert_eq!(with(good), None, "{good}");
        }
        for bad in [
            "gzip, chunked",
            "gzip",
            "chunked, chunked",
            "chunked, gzip",
            "identity",
            "xchunked",
            "chunked;a=b",
            ",chunked",
            "",
        ] {
            assert_eq!(with(bad), Some(501), "{bad}");
        }
        let two = [(HOST, "a"), (TRANSFER_ENCODING, "gzip"), (TRANSFER_ENCODING, "chunked")];
        assert_eq!(status_of(Version::HTTP_11, &two), Some(501));
        assert_eq!(status_of(Version::HTTP_10, &[(HOST, "a"), (TRANSFER_ENCODING, "chunked")]), Some(400));
    }
}
