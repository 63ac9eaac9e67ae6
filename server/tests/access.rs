//! Goal: nobody calls a route of the admin API without the role that its rule names, however they show who they are; tokens and
//! sessions end; another site's page can't use a person's session; passwords can't be guessed at speed.
//! Method: the list of routes that the server itself serves from, called as each role on a running server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use std::net::IpAddr;

use ks_server::{
    admin::routes,
    role::{Access, Role},
};
use serde_json::{Value, json};
use support::{ADMIN_TOKEN, Json, Line, Sent, Server, start_server};

/// Method and path of every route, with parameters filled in.
fn endpoints() -> Vec<(&'static str, String, Access)> {
    let filled = |path: &str| path.replace("{device_id}", "KS-1").replace("{row}", "999999").replace(['{', '}'], "");
    routes().iter().map(|route| (route.method.as_str(), format!("/api{}", filled(route.path)), route.access)).collect()
}

/// Goal: each role may call what its rule says, and nothing else; a route without a rule does not compile.
/// Method: every route, as every role and as nobody. What is sent is no good, so that nothing is changed: who may call is
/// told of that, who may not of their role.
#[tokio::test]
async fn every_route_keeps_its_rule_for_every_role() {
    let server = start_server(&[]);
    let mut checked = 0;
    for role in Role::ALL {
        let token = server.token(role.as_str()).await;
        for (method, path, access) in endpoints() {
            if path == "/api/logout" {
                continue; // ends the token: below
            }
            let answer = server.admin_as(&token, method, &path, "no json").await;
            let (status, body) = (answer.status, &answer.body);
            assert_eq!(status == 403, !access.allows(Some(role)), "{role:?} {method} {path}: {status} {body}");
            assert!(status < 500, "{role:?} {method} {path}: {status} {body}");
            checked += 1;
        }
    }
    assert_eq!(checked, Role::ALL.len() * (routes().len() - 1));
    for (method, path, access) in endpoints() {
        let status = server.admin_as("", method, &path, "no json").await.status;
        assert_eq!(status == 401, access != Access::Everybody, "{method} {path}: {status}");
    }
    let open: Vec<_> = endpoints().into_iter().filter(|(_, _, access)| *access == Access::Everybody).collect();
    let paths: Vec<_> = open.iter().map(|(_, path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/api/login", "/api/openapi.json", "/api/docs"], "open to everybody, and nothing else");
    server.is_well().await;
}

/// Goal: a query that a route does not know is refused on every route, as one that would have asked for less.
/// Method: a field that no route has, on each; what says so names it. Then a number in a path that is not in its one form.
#[tokio::test]
async fn every_route_refuses_a_query_that_it_does_not_know() {
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
    assert_eq!(server.get("/api/presence?").await.status, 200, "an empty one asks for nothing");
}

/// Goal: the rules are the ones that people were promised.
/// Method: the whole matrix of what changes something, written out.
#[test]
fn the_matrix_of_roles_and_routes_is_this() {
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
POST /artifacts: release_manager or admin
POST /releases: release_manager or admin
POST /releases/signed: release_manager or admin
POST /releases/{release_id}/stage: release_manager or admin
POST /releases/{release_id}/activate: release_manager or admin
POST /releases/{release_id}/revoke: release_manager or admin
POST /rollouts: release_manager or admin
POST /rollouts/plan: release_manager or admin
POST /rollouts/{rollout_id}/pause: operator or release_manager or admin
POST /rollouts/{rollout_id}/resume: release_manager or admin
POST /rollouts/{rollout_id}/approve: release_manager or admin
POST /rollouts/{rollout_id}/abort: operator or release_manager or admin
POST /login: everybody
POST /logout: viewer or operator or release_manager or factory or admin
POST /keys/announce: admin
POST /keys/flip: admin
POST /keys/retire: admin
POST /keys/revoke: admin
POST /keys/firmware: admin
POST /users: admin
PATCH /users/{name}: admin
POST /tokens: admin
DELETE /tokens/{row}: admin
";
    assert_eq!(matrix, expected);
}

/// Goal: without a good token nothing is said, not even what exists.
/// Method: no, a wrong, a shortened, a lengthened token and another scheme, on endpoints and on none.
#[tokio::test]
async fn without_a_good_token_everything_is_401() {
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

/// Goal: without ADMIN_TOKEN there is no token that the settings know, and users and tokens made on the machine still work.
/// Method: a server without it, and a token made by the command line beside it.
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

/// Goal: a token ends when it is revoked or its time is up, and is stored nowhere.
/// Method: one of each; the database file is searched for it.
#[tokio::test]
async fn a_token_ends_and_is_stored_nowhere() {
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
    server.sqlite().execute("UPDATE tokens SET expires_at = 1", []).unwrap();
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

/// Goal: a person logs in, works with a cookie that scripts of a page can't read, and logs out.
/// Method: login, a look, logout, the same look.
#[tokio::test]
async fn a_person_logs_in_and_out() {
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
    let look = async || server.call("GET", "/api/me", &[("cookie", &session)], "").await;
    let me = look().await.done();
    assert_eq!((&me["role"], &me["expires_at"]), (&"operator".into(), &login.body["expires_at"]));
    let own_page = [("cookie", session.as_str()), ("sec-fetch-site", "same-origin")];
    assert!(
        server.call("POST", "/api/logout", &own_page, "").await.header("set-cookie").unwrap().contains("Max-Age=0")
    );
    look().await.problem(401);
    let audited: String =
        server.value("SELECT group_concat(actor || ' ' || action || ' ' || subject, '; ') FROM audit WHERE id > 1");
    let expected = "admin-token user.create anna; anybody login.failed anna; anybody login.failed nobody; \
        user:anna session.begin anna; user:anna token.revoke anna";
    assert_eq!(audited, expected);
    assert!(!server.log().contains(PASSWORD));
}

/// Goal: a page of another site can't use the session of who looks at it.
/// Method: what a browser sends with a call from our own page, from another site's, and from one too old to say.
#[tokio::test]
async fn another_sites_page_can_change_nothing() {
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
}

/// Goal: a change of role or password, or the end of an account, holds at once.
/// Method: a session goes on through each.
#[tokio::test]
async fn what_happens_to_a_user_happens_to_the_session() {
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

/// Goal: nobody keeps a way in through a token that they made: it ends when they are disabled or are admin no more, also one that a
/// token of theirs made. What was made with ADMIN_TOKEN or on the machine is nobody's, and stays.
/// Method: a session makes a token, which makes another; the user is disabled, or loses the role.
#[tokio::test]
async fn tokens_end_with_the_user_who_made_them() {
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
        let nobodys = server.token("viewer").await;
        let ran = server.run(&["admin", "token", "create", "--name", "cli", "--role", "viewer", "--ttl", "1h"]);
        let by_cli = format!("Bearer {}", ran.stdout.trim_end());
        let is_good = async |token: &str| server.admin_as(token, "GET", "/api/me", "").await.status == 200;
        let listed = server.get("/api/tokens").await.done();
        let whose =
            |token: &Value| (token["name"].as_str().unwrap().to_owned(), token["user"].as_str().map(str::to_owned));
        let whose: Vec<_> = listed["items"].as_array().unwrap().iter().map(whose).collect();
        let expected = [(name, true), ("first", true), ("second", true), ("test-viewer", false), ("cli", false)]
            .map(|(called, is_theirs)| (called.to_owned(), is_theirs.then(|| name.to_owned())));
        assert_eq!(whose, expected);
        assert!(is_good(&first).await && is_good(&second).await && is_good(&nobodys).await && is_good(&by_cli).await);
        server.admin("PATCH", &format!("/api/users/{name}"), change.to_string()).await.done();
        assert_eq!((is_good(&first).await, is_good(&second).await), (false, false));
        assert!(is_good(&nobodys).await && is_good(&by_cli).await);
        let edits = server.get("/api/audit?action=user.edit").await.done();
        assert!(edits["items"][0]["detail"].as_str().unwrap().ends_with("2 tokens revoked"), "{edits}");
    }
}

/// Goal: who guesses passwords is slowed down, from one address whatever the names.
/// Method: more wrong logins than the burst; then a right one, which must wait too.
#[tokio::test]
async fn guessing_passwords_is_slowed_down() {
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
    let noted: i64 = server.value("SELECT count(*) FROM audit WHERE action = 'login.failed'");
    assert_eq!(noted, 12 - refused, "what was refused unheard leaves no line");
}

/// Goal: whoever guesses a user's password from elsewhere does not keep the user out.
/// Method: the user logs in once; then other addresses guess until even they are refused; the user logs in again.
#[tokio::test]
async fn guessing_a_users_password_does_not_keep_the_user_out() {
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

/// Goal: wrong tokens are not looked up without end, and good ones of the same address go on.
/// Method: more wrong tokens than may fail; then one that was good before.
#[tokio::test]
async fn wrong_tokens_are_slowed_down_and_good_ones_are_not() {
    let server =
        start_server(&[("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "60")]);
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

/// Goal: strangers can't fill the memory with bodies that are judged only once they are whole.
/// Method: a login just within their bound, and one beyond it; the admin's own bound is another one.
#[tokio::test]
async fn bodies_of_strangers_are_small() {
    let server = start_server(&[]);
    for (bytes, status) in [(4_096, 400), (4_097, 413)] {
        let password = "x".repeat(bytes - json!({ "name": "a", "password": "" }).to_string().len());
        log_in(&server, "a", &password).await.problem(status);
    }
}

/// Goal: a browser keeps no answer, guesses no type, and loads nothing because of one.
/// Method: the headers of a good answer, of an error, and of a path that is none.
#[tokio::test]
async fn answers_tell_browsers_what_not_to_do() {
    let server = start_server(&[]);
    for path in ["/api/devices", "/api/devices?limit=x", "/api/nowhere", "/api/openapi.json", "/api/docs"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"), "{path}");
    }
}

/// Goal: the document is whole: every route is in it, every reference leads somewhere; the page shows it.
/// Method: both are fetched without a login.
#[tokio::test]
async fn the_api_describes_itself() {
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
