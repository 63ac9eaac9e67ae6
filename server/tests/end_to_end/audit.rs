//! Goal: the audit reveals any edit, deletion or reordering, is exported as NDJSON, and contains no secret; `doctor` reports
//! problems.
//! Method: actions are recorded, then the database is modified; the command line runs next to the running server.

use crate::support::{Count, Server, start_server};
use serde_json::{Value, json};

/// A server with some lines in its audit.
async fn audited_server() -> Server {
    let server = start_server(&[]);
    let device = server.registered("KS-1").await;
    server.otrt(json!({})).await;
    server.enqueue(&device, "reboot", "").await;
    server.revoke(&device).await.done();
    server
}

/// Goal: any tampering with the audit is detected, by the command line and by the API.
/// Method: each kind of tampering on a separate database.
#[tokio::test]
async fn any_edit_deletion_or_reordering_is_detected() {
    for (tampering, expected) in [
        ("", "intact: 6 lines"),
        ("UPDATE audit SET detail = 'sold' WHERE id = 6", "line 6 was changed"),
        ("UPDATE audit SET at = at + 1 WHERE id = 2", "line 2 was changed"),
        ("DELETE FROM audit WHERE id = 3", "line 3 is missing"),
        ("DELETE FROM audit WHERE id = 6", "the lines after"),
        (
            "UPDATE audit SET id = -id WHERE id IN (3, 4); UPDATE audit SET id = 7 + id WHERE id < 0",
            "line 3 was changed",
        ),
        ("DELETE FROM audit; DELETE FROM audit_head", "intact: 0 lines"),
    ] {
        let server = audited_server().await;
        let noted = server.run(&["audit", "verify", "--json"]);
        let head: Value = serde_json::from_str(&noted.stdout).unwrap();
        server.sqlite().execute_batch(tampering).unwrap();
        let ran = server.run(&["audit", "verify"]);
        assert!(ran.stdout.contains(expected), "{tampering}: {ran:?}");
        let is_whole = expected.starts_with("intact");
        assert_eq!(ran.code, Some(i32::from(!is_whole)), "{tampering}: {ran:?}");
        let verdict = server.get("/api/audit/verify").await.done();
        assert_eq!(verdict["whole"], is_whole, "{tampering}: {verdict}");
        // With a head that was recorded elsewhere, even the deletion of the whole audit is detected.
        let with_head = server.run(&["audit", "verify", "--head", head["head"].as_str().unwrap()]);
        assert_eq!(with_head.code, Some(i32::from(!tampering.is_empty())), "{tampering}: {with_head:?}");
    }
}

/// Goal: the audit is exported completely, identically by API and command line; lists can be filtered.
/// Method: both exports; a filter.
#[tokio::test]
async fn the_audit_is_exported_and_filtered() {
    let server = audited_server().await;
    let by_api = server.get("/api/audit/export").await;
    assert_eq!(by_api.content_type, "application/x-ndjson");
    let Value::String(by_api) = by_api.body else { panic!("{}", by_api.body) };
    let by_command = server.run(&["audit", "export"]).stdout;
    assert_eq!(by_api, by_command);
    let lines: Vec<Value> = by_api.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!((&lines[5]["action"], &lines[5]["address"]), (&"device.revoke".into(), &"127.0.0.1".into()));
    let revoked = server.get("/api/audit?action=device.&subject=KS-1&limit=1").await.done();
    assert_eq!(revoked["items"][0]["action"], "device.register");
    let cursor = revoked["next_cursor"].as_str().unwrap();
    let newest = server.get("/api/audit?action=device.&subject=KS-1&limit=1&newest_first=true").await.done();
    assert!(newest["items"][0]["number"].as_i64() > revoked["items"][0]["number"].as_i64(), "{newest}");
    let rest = server.get(&format!("/api/audit?action=device.&subject=KS-1&cursor={cursor}")).await.done();
    assert_eq!(rest["items"][0]["action"], "device.revoke");
}

/// Goal: no secret reaches the audit or the log.
/// Method: every secret that is made or sent is searched for in both.
#[tokio::test]
async fn no_secret_is_in_the_audit_or_the_log() {
    let server = start_server(&[("LOG_LEVEL", "trace")]);
    let otrt = server.otrt(json!({})).await;
    let token = server.token("viewer").await.replace("Bearer ", "");
    let password = "correct horse battery";
    server.post("/api/users", &json!({ "name": "anna", "role": "viewer", "password": password })).await.done();
    let login = json!({ "name": "anna", "password": password }).to_string();
    let session = server.admin_as("", "POST", "/api/login", login).await.header("set-cookie").unwrap();
    let session = session.split(['=', ';']).nth(1).unwrap().to_owned();
    let mut device = server.whitelisted("KS-1").await;
    device.register(Some(&otrt)).await.answer();
    let audit = server.run(&["audit", "export"]).stdout;
    for secret in [otrt.as_str(), &token, password, &session, crate::support::ADMIN_TOKEN] {
        assert!(!audit.contains(secret) && !server.log().contains(secret), "{secret}");
    }
}

/// Goal: `doctor` accepts a correct installation, and says what to fix in a broken one.
/// Method: a running server; then its audit is modified, its settings are wrong, its key is a different one.
#[tokio::test]
async fn doctor_says_what_to_fix() {
    let mut server = audited_server().await;
    let well = server.run(&["doctor"]);
    assert_eq!(well.code, Some(0), "{well:?}");
    assert!(well.stdout.contains("6 lines, intact"), "{}", well.stdout);
    let findings: Value = serde_json::from_str(&server.run(&["doctor", "--json"]).stdout).unwrap();
    assert!(findings.as_array().unwrap().iter().all(|finding| finding["health"] != "bad"), "{findings}");
    server.sqlite().execute("UPDATE audit SET actor = 'eve' WHERE id = 4", []).unwrap();
    let tampered = server.run(&["doctor"]);
    assert_eq!(tampered.code, Some(1));
    assert!(
        tampered.stdout.contains("BAD   audit") && tampered.stdout.contains("line 4 was changed"),
        "{}",
        tampered.stdout
    );
    server.terminate();
    server.ended().await;
    let mut world = crate::support::world(&[("PORT", "many")]);
    let wrong = world.run(&["doctor"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stdout.contains("PORT is `many`") && wrong.stdout.contains("set PORT=3000"), "{}", wrong.stdout);
    world.set("PORT", "0");
    world.set("DATABASE_URL", &format!("file:{}", server.database().display()));
    world.set("SERVER_PRIVATE_KEY", &ks_protocol::key::PrivateKey::from_seed(&[1; 32]).to_pem().unwrap());
    let with_other_key = world.run(&["doctor"]);
    assert!(with_other_key.stdout.contains("the fleet does not know the key"), "{}", with_other_key.stdout);
}

/// Goal: what was exported can be pruned, and nothing else; the chain proves that the rest is complete, and that the exports are
/// its beginning.
/// Method: two exports with a pruning after each; exports that were modified, truncated or omitted; a base moved by hand.
#[tokio::test]
async fn exported_lines_are_pruned_and_the_rest_verifies() {
    let server = audited_server().await;
    let first_head = server.run(&["audit", "verify", "--json"]).stdout;
    let first_head: Value = serde_json::from_str(&first_head).unwrap();
    let first_head = first_head["head"].as_str().unwrap();
    let export = |name: &str| server.write(name, &server.run(&["audit", "export"]).stdout);
    export("one");
    let one = std::fs::read_to_string(server.path("one")).unwrap();
    server.write("forged", one.replace("device.revoke", "device.edit"));
    server.write("short", one.split_once('\n').unwrap().1);
    let count = || server.count(Count::AuditLines);
    for (file, code, expected) in
        [("forged", 1, "line 6 was changed"), ("short", 1, "line 1 is missing"), ("none", 3, "none")]
    {
        let ran = server.run(&["audit", "prune", "--keep-days", "0", "--export", file]);
        assert_eq!(ran.code, Some(code), "{file}: {ran:?}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(expected), "{file}: {ran:?}");
    }
    let young = server.run(&["audit", "prune", "--keep-days", "1", "--export", "one"]);
    assert!(young.stdout.starts_with("0 lines deleted"), "{young:?}");
    assert_eq!(count(), 6);
    let pruned = server.run(&["audit", "prune", "--keep-days", "0", "--export", "one"]);
    assert!(pruned.stdout.starts_with("6 lines deleted"), "{pruned:?}");
    assert_eq!(count(), 1);
    let verify = |more: &[&str]| server.run(&[["audit", "verify"].as_slice(), more].concat());
    assert!(verify(&[]).stdout.starts_with("intact: lines 7 to 7; earlier lines were pruned"), "{:?}", verify(&[]));
    assert_eq!(server.get("/api/audit/verify").await.done()["whole"], true);
    assert_eq!(verify(&["--export", "one"]).code, Some(0), "the rest continues after the export");
    assert_eq!(verify(&["--export", "one", "--head", first_head]).code, Some(0), "the recorded head is in it");
    assert_eq!(verify(&["--export", "forged"]).code, Some(1));
    server.otrt(json!({})).await;
    export("two");
    let without = server.run(&["audit", "prune", "--keep-days", "0", "--export", "two"]);
    assert!(without.stdout.contains("line 1 is missing"), "all exports must be given, from the first on: {without:?}");
    let pruned = server.run(&["audit", "prune", "--keep-days", "0", "--export", "one", "two"]);
    assert!(pruned.stdout.starts_with("2 lines deleted"), "{pruned:?}");
    assert_eq!(verify(&["--export", "one", "two"]).code, Some(0));
    let early = verify(&["--export", "one"]);
    assert!(early.stdout.contains("the lines after"), "the lines in between are in another export: {early:?}");
    let noted = verify(&["--head", &format!("2:{}", "0a".repeat(32))]);
    assert!(noted.stdout.contains("line 2 was pruned"), "{noted:?}");
    server.otrt(json!({})).await;
    let sqlite = server.sqlite();
    sqlite
        .execute_batch(
            "CREATE TEMP TABLE lines AS SELECT * FROM audit; CREATE TEMP TABLE base AS SELECT * FROM audit_base",
        )
        .unwrap();
    for tampering in [
        "UPDATE audit_base SET last = 9, hash = (SELECT hash FROM audit WHERE id = 9); DELETE FROM audit WHERE id = 9",
        "DELETE FROM audit_base",
        "UPDATE audit_base SET hash = zeroblob(32)",
    ] {
        sqlite.execute_batch(tampering).unwrap();
        assert_eq!(verify(&[]).code, Some(1), "{tampering}");
        sqlite
            .execute_batch(
                "DELETE FROM audit; INSERT INTO audit SELECT * FROM lines;
                 DELETE FROM audit_base; INSERT INTO audit_base SELECT * FROM base",
            )
            .unwrap();
        assert_eq!(verify(&[]).code, Some(0));
    }
}
