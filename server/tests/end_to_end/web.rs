//! Goal: browsers get the admin web under a strict policy, compressed and cached; devices and scripts get none of it.
//! Method: requests as browsers, scripts and devices send them, to a running server. Where the web was not built into the executable,
//! which needs Node.js, the page says so, and the rest is the same.

use crate::support::{Answer, HOME, Line, Sent, Server, start_server};
use ks_server::web;

/// What a browser sends when a person opens an address.
const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

async fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let sent = Sent { method, path, headers, body: Vec::new() };
    Line::new(server.address(), HOME).exchange(sent).await.unwrap()
}

/// The path of the page's script.
fn script(page: &str) -> String {
    let (_, rest) = page.split_once(" src=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn pages_come_with_a_strict_policy() {
    let server = start_server(&[]);
    for path in ["/", "/devices/KS-1?tab=logs", "/no/such/page"] {
        let page = ask(&server, "GET", path, &[BROWSER]).await;
        let expected = if web::is_built() { (200, "no-cache") } else { (404, "no-store") };
        assert_eq!((page.status, page.header("cache-control").unwrap().as_str()), expected, "{path}");
        assert_eq!(page.header("content-type").unwrap(), "text/html; charset=utf-8");
        assert!(page.text().contains(if web::is_built() { "id=\"root\"" } else { "cargo xtask web" }));
        let policy = page.header("content-security-policy").unwrap();
        for part in
            ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(page.header(name).as_deref(), Some(value), "{path}");
        }
    }
    let head = ask(&server, "HEAD", "/", &[]).await;
    assert_eq!((head.status == 200, head.body.len()), (web::is_built(), 0));
}

#[tokio::test]
async fn no_page_is_sent_in_place_of_an_answer() {
    let server = start_server(&[]);
    let (browser, script, none): (&[_], &[_], &[_]) = (&[BROWSER], &[("accept", "*/*")], &[]);
    for (method, path, headers, status) in [
        ("GET", "/api/nothing", browser, 401),
        ("GET", "/api", browser, 401),
        ("GET", "/keys", browser, 200),
        ("GET", "/heartbeat", browser, 405),
        ("POST", "/devices", browser, 404),
        ("GET", "/devices", script, 404),
        ("GET", "/nowhere", none, 404),
        ("GET", "/../Cargo.toml", script, 404),
        ("GET", "/.gitignore", script, 404),
    ] {
        let answer = ask(&server, method, path, headers).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_ne!(answer.header("content-type").as_deref(), Some("text/html; charset=utf-8"), "{method} {path}");
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn files_are_compressed_and_cached() {
    if !web::is_built() {
        return; // nothing to send
    }
    let server = start_server(&[]);
    let path = script(&ask(&server, "GET", "/", &[BROWSER]).await.text());
    let plain = ask(&server, "GET", &path, &[]).await;
    assert_eq!(plain.header("cache-control").unwrap(), "public, max-age=31536000, immutable");
    assert_eq!(plain.header("content-type").unwrap(), "text/javascript; charset=utf-8");
    assert_eq!(plain.header("content-encoding"), None);
    let mut tags = vec![plain.header("etag").unwrap()];
    let mut sizes = vec![plain.body.len()];
    for (accepted, encoding) in [("gzip", "gzip"), ("gzip, deflate, br, zstd", "br")] {
        let answer = ask(&server, "GET", &path, &[("accept-encoding", accepted)]).await;
        assert_eq!(answer.header("content-encoding").as_deref(), Some(encoding));
        assert!(answer.header("vary").unwrap().contains("accept-encoding"));
        let tag = answer.header("etag").unwrap();
        let known = [("accept-encoding", accepted), ("if-none-match", tag.as_str())];
        let again = ask(&server, "GET", &path, &known).await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.clone())));
        tags.push(tag);
        sizes.push(answer.body.len());
    }
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "a form of a file has an ETag of its own");
    let other = ask(&server, "GET", &path, &[("if-none-match", "\"other\"")]).await;
    assert_eq!((other.status, other.body.len()), (200, sizes[0]));
}
