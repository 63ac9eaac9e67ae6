//! The admin web: the files that `cargo xtask web` built, embedded in the executable and served at `/`.
//!
//! Every file comes with a content policy under which the page loads and runs its own files and nothing else: no inline script or
//! style, no other origin, no frame. An address that is no file is a page of the web if a browser asks for it; pages read what they
//! show from `/api`, so that these files are the same for everybody and need no authentication.

mod encoding;

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use ks_protocol::text::hex;
use sha2::{Digest, Sha256};

use encoding::Encoding;

/// A file as it was built.
struct Built {
    path: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
}

/// Every file, made by `build.rs`; empty if the web was not built.
const BUILT: &[Built] = include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// The page that every address of the web shows.
const INDEX: &str = "/index.html";
/// Below it a file's name holds a hash of its content.
const HASHED: &str = "/assets/";
/// Paths that browsers get no page for.
const API: &str = "/api";

const NOT_BUILT: &str = include_str!("not_built.html");

/// What the pages may load and do: their own files and the API of their origin. Scripts can't turn text into markup at all.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const BROWSER_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// The ETags of all files, by path: hashes of their content, computed once.
static TAGS: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
    let tag = |file: &'static Built| (file.path, hex(&Sha256::digest(file.plain))[..32].to_owned());
    BUILT.iter().map(tag).collect()
});

/// Whether the executable holds the web.
pub fn is_built() -> bool {
    !BUILT.is_empty()
}

/// Answers a request for the web; none if it is for something else.
pub fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
    let is_page = path == "/" || encoding::accepts_html(headers);
    if !matches!(*method, Method::GET | Method::HEAD) || path == API || path.starts_with("/api/") {
        return None;
    }
    let find = |path: &str| BUILT.iter().find(|file| file.path == path);
    match find(path).or_else(|| find(INDEX).filter(|_| is_page)) {
        Some(file) => Some(send(file, headers)),
        None if is_page => Some(not_built()),
        None => None,
    }
}

/// Sends a file in the smallest form that the client accepts, or says that the client has it.
fn send(file: &Built, headers: &HeaderMap) -> Response {
    let accepts = |encoding| encoding::accepts(headers, encoding);
    let (bytes, encoding) = match (file.brotli, file.gzip) {
        (Some(brotli), _) if accepts(Encoding::Brotli) => (brotli, Some(Encoding::Brotli)),
        (_, Some(gzip)) if accepts(Encoding::Gzip) => (gzip, Some(Encoding::Gzip)),
        _ => (file.plain, None),
    };
    // Each form of a file is another representation and has an ETag of its own.
    let form = encoding.map_or("plain", Encoding::as_str);
    let tag = format!("\"{}-{form}\"", TAGS.get(file.path).map_or("", String::as_str));
    let is_known =
        encoding::lists(headers, &header::IF_NONE_MATCH, |known| known == "*" || known.trim_start_matches("W/") == tag);
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(Bytes::from_static(bytes)) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let caching = if file.path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let fields = response.headers_mut();
    fields.extend(BROWSER_HEADERS);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(file.path)));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    // A path that is no file is a page for browsers only.
    fields.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(header::ETAG, tag);
    }
    if let Some(encoding) = encoding {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    }
    response
}

/// Says how to build the web. The rest of the server does without it.
fn not_built() -> Response {
    let mut response = Response::new(Body::from(NOT_BUILT));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let fields = response.headers_mut();
    fields.extend(BROWSER_HEADERS);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(INDEX)));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json" | "webmanifest") => "application/json",
        _ => "application/octet-stream",
    }
}
