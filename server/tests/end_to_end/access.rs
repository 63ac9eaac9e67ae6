//! Goal: every route of the admin API requires the role that its rule names, whatever the credentials; tokens and sessions expire;
//! a page of another site can't use a user's session; password guessing is rate limited.
//! Method: the list of routes that the server itself serves from, called as each role on a running server.

use std::net::IpAddr;

use crate::support::{ADMIN_TOKEN, Json, Line, Sent, Server, start_server};
use ks_server::{
    admin::routes,
    role::{Access, Role},
};
use serde_json::{Value, json};

/// Method and path of every route, with parameters filled in.
fn endpoints() -> Vec<(&'static str, String, Access)> {
    let filled = |path: &str| path.replace("{device_id}", "KS-1").replace("{row}", "999999").replace(['{', '}'], "");
    routes().iter().map(|route| (route.method.as_str(), format!("/api{}", filled(route.path)), route.access)).collect()
}

/// Goal: each role may call what its rule allows, and nothing else; a route without a rule does not compile.
/// Method: every route, as every role and without credentials. The body is invalid, so that nothing is changed: a caller with the
/// role gets an error about the body, any other an error about the role.
#[tokio::test]
async fn every_route_enforces_its_rule_for_every_role() {
    let server = start_server(&[]);
    let mut checked = 0;
    for role in Role::ALL {
        let token = server.token(role.as_str()).await;
        for (method, path, access) in endpoints() {
            if path == "/api/logout" {
                continue; // ends the token: below
            }
            let answer = server.admin_as(&token, method, &path, "not json").await;
            let (status, body) = (answer.status, &answer.body);
            assert_eq!(status == 403, !access.allows(Some(role)), "{role:?} {method} {path}: {status} {body}");
            assert!(status < 500, "{role:?} {method} {path}: {status} {body}");
            checked += 1;
        }
    }
    assert_eq!(checked, Role::ALL.len() * (routes().len() - 1));
    for (method, path, access) in endpoints() {
        let status = server.admin_as("", method, &path, "not json").await.status;
        assert_eq!(status == 401, access != Access::Everybody, "{method} {path}: {status}");
    }
    let open: Vec<_> = endpoints().into_iter().filter(|(_, _, access)| *access == Access::Everybody).collect();
    let paths: Vec<_> = open.iter().map(|(_, path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/api/login", "/api/openapi.json", "/api/docs"], "public, and no other route");
    server.assert_healthy().await;
}

/// Goal: every route refuses an unknown query field. Ignoring it would return more than the caller asked for.
/// Method: a field that no route has, on each; the error names it. Then numbers in a path that are not in canonical form.
#[tokio::test]
async fn every_route_refuses_unknown_query_fields() {
    let server = start_server(&[]);
    for (method, path, _) in endpoints() {
        let answer = server.admin(method, &format!("{path}?no_such_field=1"), "").await;
        let body = answer.body.to_string();
        assert!(answer.status == 400 && body.contains("unknown field `no_such_field`"), "{method} {path}: {body}");
    }
    for row in ["+1", "01", "one"] {
        let problem = server.admin("DELETE", &format!("/api/tokens/{row}"), "").await.problem(400);
        assert_eq!(problem["detail"], "row: expected a whole number");
    }
    assert_eq!(server.get("/api/presence?").await.status, 200, "an empty query is accepted");
}

/// Goal: the access rules are the documented ones.
/// Method: the whole matrix of routes that change something, written out.
#[test]
fn the_access_matrix_is_as_documented() {
    let mut matrix = String::new();
    for route in routes().iter().filter(|route| route.method.as_str() != "GET") {
        matrix += &format!("{} {}: {}\n", route.method.as_str(), route.path, route.access);
    }
    let expected = "\
POST /devices: factory or admin
POST /devices/import: factory or admin
POST /devices/revoke: operator or release_manager or admin
PATCH /devices/{device_id}: operator or release_manager or admin
POST /devices/{device_id}/revoke: operator or release_manager or admin
POST /devices/{device_id}/reprovision: factory or admin
POST /otrts: factory or admin
POST /commands: operator or release_manager or admin
POST /commands/{command_id}/cancel: operator or release_manager or admin
POST /presence: viewer or operator or release_manager or admin
POST /artifacts: release_manager or admin
POST /releases: release_manager or admin
POST /releases/signed: release_manager or admin
POST /releases/{release_id}/stage: release_manager or admin
POST /releases/{release_id}/activate: release_manager or admin
POST /releases/{release_id}/revoke: release_manager or admin
POST /rollouts: release_manager or admin
POST /rollouts/plan: release_manager or admin
POST /rollouts/plan/rehearsal: release_manager or admin
POST /rollouts/{rollout_id}/pause: operator or release_manager or admin
POST /rollouts/{rollout_id}/resume: release_manager or admin
POST /rollouts/{rollout_id}/approve: release_manager or admin
POST /rollouts/{rollout_id}/abort: operator or release_manager or admin
POST /login: everybody
POST /logout: viewer or operator or release_manager or factory or admin
POST /keys/announce: admin
POST /keys/activate: admin
POST /keys/retire: admin
POST /keys/revoke: admin
POST /keys/firmware: admin
PUT /limits: admin
POST /limits/rollback: admin
POST /users: admin
PATCH /users/{name}: admin
POST /tokens: admin
DELETE /tokens/{row}: admin
";
    assert_eq!(matrix, expected);
}

/// Goal: without a valid token nothing is disclosed, not even which routes exist.
/// Method: no token, a wrong, a truncated and an extended one, and another scheme, on existing endpoints and on an unknown one.
#[tokio::test]
async fn requests_without_a_valid_token_are_401() {
    let server = start_server(&[]);
    let almost = &ADMIN_TOKEN[1..];
    let wrong =
        ["", "Bearer", "Bearer ", &format!("Bearer {almost}"), &format!("Bearer {ADMIN_TOKEN}x")].map(str::to_owned);
    let wrong = wrong.into_iter().chain([format!("Basic {ADMIN_TOKEN}"), ADMIN_TOKEN.to_owned()]);
    for authorization in wrong {
        for (method, path) in
            [("GET", "/api/devices"), ("POST", "/api/otrts"), ("GET", "/api/nothing"), ("DELETE", "/api/devices")]
        {
            let problem = server.admin_as(&authorization, method, path, "{}").await.problem(401);
            assert!(!problem.to_string().contains(almost), "{problem}");
        }
    }
    server.get("/api/nothing").await.problem(404);
    let not_allowed = server.admin("DELETE", "/api/devices", "").await;
    assert_eq!(not_allowed.header("allow").unwrap(), "GET,HEAD,POST");
    not_allowed.problem(405);
}

/// Goal: without ADMIN_TOKEN the settings contain no token, and users and tokens made on the machine still work.
/// Method: a server without it, and a token made by the command line next to the running server.
#[tokio::test]
async fn without_admin_token_the_command_line_makes_the_first_token() {
    let server = start_server(&[("ADMIN_TOKEN", "")]);
    for authorization in ["", "Bearer ", "Bearer undefined"] {
        server.admin_as(authorization, "GET", "/api/devices", "").await.problem(401);
    }
    let made = server.run(&["admin", "token", "create", "--name", "first", "--role", "viewer", "--ttl", "1h"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let bearer = format!("Bearer {}", made.stdout.trim());
    assert_eq!(server.admin_as(&bearer, "GET", "/api/me", "").await.done()["name"], "token:first");
    server.admin_as(&bearer, "POST", "/api/otrts", json!({ "count": 1, "ttl_s": 60 }).to_string()).await.problem(403);
}

/// Goal: a token is invalid once it is revoked or has expired, and is stored nowhere.
/// Method: one of each; the database file is searched for it.
#[tokio::test]
async fn tokens_are_revoked_and_expire_and_are_not_stored() {
    let server = start_server(&[]);
    let made = server.post("/api/tokens", &json!({ "name": "ci", "role": "operator", "ttl_s": 600 })).await.done();
    let (row, token) = (made["row"].as_i64().unwrap(), made["token"].as_str().unwrap());
    let bearer = format!("Bearer {token}");
    server.admin_as(&bearer, "GET", "/api/devices", "").await.done();
    let stored = [server.database(), server.path("ks.sqlite-wal")].map(|path| std::fs::read(path).unwrap_or_default());
    let holds = |bytes: &Vec<u8>| bytes.windows(token.len()).any(|window| window == token.as_bytes());
    assert!(!stored.iter().any(holds) && !server.log().contains(token));
    assert_eq!(server.admin("DELETE", &format!("/api/tokens/{row}"), "").await.status, 204);
    server.admin_as(&bearer, "GET", "/api/devices", "").await.problem(401);
    server.admin("DELETE", "/api/tokens/99", "").await.problem(404);

    let other = server.token("viewer").await;
    server.expire_tokens();
    server.admin_as(&other, "GET", "/api/devices", "").await.problem(401);
    for (wrong, field) in [
        (json!({ "name": "a b", "role": "viewer", "ttl_s": 60 }), "name"),
        (json!({ "name": "a", "role": "king", "ttl_s": 60 }), "role"),
        (json!({ "name": "a", "role": "viewer", "ttl_s": 0 }), "ttl_s"),
    ] {
        let problem = server.post("/api/tokens", &wrong).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(field), "{problem}");
    }
}

const PASSWORD: &str = "correct horse battery";

async fn make_user(server: &Server, name: &str, role: &str) -> Json {
    server.post("/api/users", &json!({ "name": name, "role": role, "password": PASSWORD })).await
}

async fn log_in(server: &Server, name: &str, password: &str) -> Json {
    let login = json!({ "name": name, "password": password }).to_string();
    server.admin_as("", "POST", "/api/login", login).await
}

/// The cookie of a session, as a browser sends it.
fn cookie(login: &Json) -> String {
    login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

/// Goal: a user logs in, works with a cookie that scripts of a page can't read, and logs out.
/// Method: login, a request, logout, the same request.
#[tokio::test]
async fn a_user_logs_in_and_out() {
    let server = start_server(&[]);
    assert_eq!(make_user(&server, "anna", "operator").await.done()["role"], "operator");
    make_user(&server, "anna", "viewer").await.problem(409);
    log_in(&server, "anna", "correct horse batterx").await.problem(401);
    log_in(&server, "nobody", PASSWORD).await.problem(401);
    let login = log_in(&server, "anna", PASSWORD).await;
    let set = login.header("set-cookie").unwrap();
    for attribute in
        ["__Host-ks_session=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"]
    {
        assert!(set.contains(attribute), "{set}");
    }
    assert_eq!(login.body["name"], "user:anna");
    let session = cookie(&login);
    let get_me = async || server.call("GET", "/api/me", &[("cookie", &session)], "").await;
    let me = get_me().await.done();
    assert_eq!((&me["role"], &me["expires_at"]), (&"operator".into(), &login.body["expires_at"]));
    let own_page = [("cookie", session.as_str()), ("sec-fetch-site", "same-origin")];
    assert!(
        server.call("POST", "/api/logout", &own_page, "").await.header("set-cookie").unwrap().contains("Max-Age=0")
    );
    get_me().await.problem(401);
    let audited = server.audit_lines(|line| line.action != "key.announce");
    let audited: Vec<_> = audited.iter().map(|line| [&*line.actor, &*line.action, &*line.subject]).collect();
    let expected = [
        ["admin-token", "user.create", "anna"],
        ["anybody", "login.failed", "anna"],
        ["anybody", "login.failed", "nobody"],
        ["user:anna", "session.begin", "anna"],
        ["user:anna", "token.revoke", "anna"],
    ];
    assert_eq!(audited, expected);
    assert!(!server.log().contains(PASSWORD));
}

/// Goal: a page of another site can't use the session of a user who visits it.
/// Method: the headers that a browser sends with a call from our own page, from another site's page, and from a browser too old to
/// send them.
#[tokio::test]
async fn cross_site_requests_are_refused() {
    let server = start_server(&[("ADMIN_WEB_ORIGIN", "https://admin.example.com")]);
    make_user(&server, "anna", "admin").await.done();
    let session = cookie(&log_in(&server, "anna", PASSWORD).await);
    let own = "http://server.test".to_owned();
    let post = async |from: &[(&str, &str)]| {
        let mut headers = vec![("cookie", session.as_str()), ("content-type", "application/json")];
        headers.extend_from_slice(from);
        server.call("POST", "/api/otrts", &headers, json!({ "count": 1, "ttl_s": 60 }).to_string()).await
    };
    post(&[("sec-fetch-site", "same-origin"), ("origin", &own)]).await.done();
    post(&[("origin", &own)]).await.done();
    post(&[("sec-fetch-site", "same-site"), ("origin", "https://admin.example.com")]).await.done();
    for other in [
        vec![],
        vec![("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        vec![("sec-fetch-site", "same-site"), ("origin", "https://evil.example.com")],
        vec![("sec-fetch-site", "cross-site"), ("origin", own.as_str())],
        vec![("origin", "null")],
    ] {
        post(&other).await.problem(403);
    }
    let preflight = |origin: &'static str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        let server = &server;
        async move { server.call("OPTIONS", "/api/otrts", &headers, "").await.header("access-control-allow-origin") }
    };
    assert_eq!(preflight("https://admin.example.com").await.as_deref(), Some("https://admin.example.com"));
    assert_ne!(preflight("https://evil.example").await.as_deref(), Some("https://evil.example"));
    // Our own page verifies what is signed, beginning with the keyset.
    let keyset = server.call("GET", "/keys", &[("origin", "https://admin.example.com")], "").await;
    assert_eq!(keyset.header("access-control-allow-origin").as_deref(), Some("https://admin.example.com"));
}

/// Goal: a change of role or password, or disabling an account, takes effect immediately.
/// Method: a session continues through each of them.
#[tokio::test]
async fn changes_to_a_user_apply_to_open_sessions() {
    let server = start_server(&[]);
    let made = make_user(&server, "anna", "operator").await;
    let etag = made.header("etag").unwrap();
    made.done();
    let patch = async |etag: &str, change: Value| {
        let headers = [
            ("authorization", &*format!("Bearer {ADMIN_TOKEN}")),
            ("content-type", "application/json"),
            ("if-match", etag),
        ];
        server.call("PATCH", "/api/users/anna", &headers, change.to_string()).await
    };
    let session = cookie(&log_in(&server, "anna", PASSWORD).await);
    let role = async |session: &str| {
        let me = server.call("GET", "/api/me", &[("cookie", session)], "").await;
        (me.status, me.body["role"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(patch(&etag, json!({ "role": "viewer" })).await.header("etag").unwrap(), "\"2\"");
    patch(&etag, json!({ "role": "admin" })).await.problem(412);
    patch("7", json!({ "role": "admin" })).await.problem(400);
    assert_eq!(role(&session).await, (200, "viewer".to_owned()));
    patch("", json!({ "password": "another horse battery" })).await.done();
    assert_eq!(role(&session).await.0, 401);
    log_in(&server, "anna", PASSWORD).await.problem(401);
    let session = cookie(&log_in(&server, "anna", "another horse battery").await);
    patch("*", json!({ "disabled": true })).await.done();
    assert_eq!(role(&session).await.0, 401);
    log_in(&server, "anna", "another horse battery").await.problem(401);
    make_user(&server, "ben", "king").await.problem(400);
    let short = json!({ "name": "ben", "role": "viewer", "password": "short" });
    server.post("/api/users", &short).await.problem(400);
}

/// Goal: users can't keep access through tokens that they made: the tokens end when the user is disabled or is no longer an admin,
/// including tokens made with those tokens. Tokens made with ADMIN_TOKEN or on the machine have no owner, and stay.
/// Method: a session makes a token, which makes another; the user is disabled, or loses the role.
#[tokio::test]
async fn tokens_end_with_their_creators_access() {
    for (name, change) in [("anna", json!({ "disabled": true })), ("ben", json!({ "role": "viewer" }))] {
        let server = start_server(&[]);
        make_user(&server, name, "admin").await.done();
        let session = cookie(&log_in(&server, name, PASSWORD).await);
        let order = |called: &str| json!({ "name": called, "role": "viewer", "ttl_s": 600 }).to_string();
        let order_admin = json!({ "name": "first", "role": "admin", "ttl_s": 600 }).to_string();
        let bearer = |made: Value| format!("Bearer {}", made["token"].as_str().unwrap());
        let headers =
            [("cookie", session.as_str()), ("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
        let first = bearer(server.call("POST", "/api/tokens", &headers, order_admin).await.done());
        let second = bearer(server.admin_as(&first, "POST", "/api/tokens", order("second")).await.done());
        let unowned = server.token("viewer").await;
        let ran = server.run(&["admin", "token", "create", "--name", "cli", "--role", "viewer", "--ttl", "1h"]);
        let by_cli = format!("Bearer {}", ran.stdout.trim_end());
        let is_valid = async |token: &str| server.admin_as(token, "GET", "/api/me", "").await.status == 200;
        let listed = server.get("/api/tokens").await.done();
        let whose =
            |token: &Value| (token["name"].as_str().unwrap().to_owned(), token["user"].as_str().map(str::to_owned));
        let whose: Vec<_> = listed["items"].as_array().unwrap().iter().map(whose).collect();
        let expected = [(name, true), ("first", true), ("second", true), ("test-viewer", false), ("cli", false)]
            .map(|(called, is_theirs)| (called.to_owned(), is_theirs.then(|| name.to_owned())));
        assert_eq!(whose, expected);
        assert!(
            is_valid(&first).await && is_valid(&second).await && is_valid(&unowned).await && is_valid(&by_cli).await
        );
        server.admin("PATCH", &format!("/api/users/{name}"), change.to_string()).await.done();
        assert_eq!((is_valid(&first).await, is_valid(&second).await), (false, false));
        assert!(is_valid(&unowned).await && is_valid(&by_cli).await);
        let edits = server.get("/api/audit?action=user.edit").await.done();
        assert!(edits["items"][0]["detail"].as_str().unwrap().ends_with("2 tokens revoked"), "{edits}");
    }
}

/// Goal: password guessing is rate limited by address, whatever the user names.
/// Method: more wrong logins than the burst; then a correct one, which must wait too.
#[tokio::test]
async fn password_guessing_is_rate_limited_by_address() {
    let server = start_server(&[]);
    make_user(&server, "anna", "viewer").await.done();
    let mut refused = 0;
    for attempt in 0..12 {
        let answer = log_in(&server, &format!("user-{attempt}"), "a wrong password").await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            refused += 1;
        } else {
            answer.problem(401);
        }
    }
    assert!(refused >= 1, "{refused}");
    log_in(&server, "anna", PASSWORD).await.problem(429);
    let noted = server.audit_of("login.failed").len();
    assert_eq!(noted, 12 - refused, "refusals without a check leave no line");
}

/// Goal: guessing a user's password from elsewhere does not lock the user out.
/// Method: the user logs in once; then other addresses guess until even they are refused; the user logs in again.
#[tokio::test]
async fn password_guessing_does_not_lock_the_user_out() {
    let server = start_server(&[]);
    make_user(&server, "anna", "viewer").await.done();
    log_in(&server, "anna", PASSWORD).await.done();
    let guess = async |last: u8| {
        let body = json!({ "name": "anna", "password": "a wrong password" }).to_string().into_bytes();
        let headers = &[("content-type", "application/json")];
        let sent = Sent { method: "POST", path: "/api/login", headers, body };
        Line::new(server.address(), IpAddr::from([127, 0, 0, last])).exchange(sent).await.unwrap().status
    };
    let mut statuses = Vec::new();
    for number in 0..30 {
        statuses.push(guess(50 + number % 5).await);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 20, "{statuses:?}");
    assert_eq!(guess(99).await, 429, "an address that guesses for the first time");
    log_in(&server, "anna", PASSWORD).await.done();
}

/// Goal: lookups of wrong tokens are bounded, and valid ones from the same address continue to work.
/// Method: more wrong tokens than may fail; then one that was valid before.
#[tokio::test]
async fn wrong_tokens_are_rate_limited_and_valid_ones_are_not() {
    let server = start_server(&[
        ("RATE_LIMIT_ADDRESS_WRONG_TOKENS_PER_MIN", "1"),
        ("RATE_LIMIT_ADDRESS_WRONG_TOKENS_BURST", "60"),
    ]);
    let token = server.token("viewer").await;
    server.admin_as(&token, "GET", "/api/me", "").await.done();
    let mut refused = 0;
    for number in 0..70 {
        let answer = server.admin_as(&format!("Bearer wrong-{number}"), "GET", "/api/me", "").await;
        refused += usize::from(answer.status == 429);
        answer.problem(if refused == 0 { 401 } else { 429 });
    }
    assert!(refused >= 5, "{refused}");
    server.admin_as(&token, "GET", "/api/me", "").await.done();
    server.get("/api/me").await.done();
}

/// Goal: unauthenticated clients can't fill the memory with bodies that are checked only once they are complete.
/// Method: a login just within its bound, and one beyond it; the admin's own bound is a different one.
#[tokio::test]
async fn unauthenticated_bodies_are_bounded() {
    let server = start_server(&[]);
    for (bytes, status) in [(4_096, 400), (4_097, 413)] {
        let password = "x".repeat(bytes - json!({ "name": "a", "password": "" }).to_string().len());
        log_in(&server, "a", &password).await.problem(status);
    }
}

/// Goal: a browser caches no answer, guesses no content type, and loads nothing because of one.
/// Method: the headers of a success, of an error, and of an unknown path.
#[tokio::test]
async fn answers_have_browser_security_headers() {
    let server = start_server(&[]);
    for path in ["/api/devices", "/api/devices?limit=x", "/api/nowhere", "/api/openapi.json", "/api/docs"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"), "{path}");
    }
}

/// Goal: the OpenAPI document is complete: it has every route, every reference resolves, and the page shows it.
/// Method: both are fetched without a login.
#[tokio::test]
async fn the_openapi_document_is_complete() {
    let server = start_server(&[]);
    let document = server.admin_as("", "GET", "/api/openapi.json", "").await.done();
    assert_eq!(document["openapi"], "3.1.0");
    for route in routes() {
        let operation = &document["paths"][format!("/api{}", route.path)][route.method.as_str().to_lowercase()];
        assert_eq!(operation["summary"], route.summary);
        assert_eq!(operation["x-roles"], route.access.to_string());
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{reference}");
    }
    let page = server.admin_as("", "GET", "/api/docs", "").await;
    assert_eq!((page.status, page.content_type.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
}
