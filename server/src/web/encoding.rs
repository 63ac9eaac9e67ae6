//! What a client accepts: compressed forms, and pages.

use hyper::{
    HeaderMap,
    header::{self, HeaderName},
};

/// A compressed form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
}

impl Encoding {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Whether the client names this form and does not refuse it. Those that name none get the plain file.
pub(super) fn accepts(headers: &HeaderMap, encoding: Encoding) -> bool {
    names(headers, &header::ACCEPT_ENCODING, encoding.as_str())
}

/// Whether the client asks for a page, as browsers do when they open an address; scripts and devices do not.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    names(headers, &header::ACCEPT, "text/html")
}

/// Whether a header that lists values has one that passes.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, passes: impl Fn(&str) -> bool) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|value| passes(value.trim()))
}

fn names(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    lists(headers, name, |value| {
        let mut parts = value.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|given| given.eq_ignore_ascii_case(wanted));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        is_named && weight.is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn sent(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn a_form_is_sent_to_clients_that_name_it() {
        let accepted = |lines| {
            let headers = sent(&header::ACCEPT_ENCODING, lines);
            [Encoding::Brotli, Encoding::Gzip].map(|encoding| accepts(&headers, encoding))
        };
        assert_eq!(accepted(&["gzip, deflate, br;q=0.9, zstd"]), [true, true]);
        assert_eq!(accepted(&["GZIP;q=0.5", "br;q=0"]), [false, true]);
        assert_eq!(accepted(&["brotli, x-gzip", "identity", "br;q=none"]), [false, false]);
        assert_eq!(accepted(&[]), [false, false]);
    }

    #[test]
    fn browsers_ask_for_pages_and_scripts_do_not() {
        let is_asked = |line| accepts_html(&sent(&header::ACCEPT, &[line]));
        assert!(is_asked("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(!is_asked("*/*") && !is_asked("application/json") && !is_asked("image/avif,image/*,*/*;q=0.8"));
    }
}
