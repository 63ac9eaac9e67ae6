//! Goal: the admin API imports an inventory completely or not at all, pages its lists, and reports errors as problem+json.
//! Method: valid and invalid requests to a running server.

use crate::support::{Count, Device, inventory, start_server};
use serde_json::{Value, json};

fn locations(problem: &Value) -> Vec<(u64, &str)> {
    let errors = problem["errors"].as_array().unwrap();
    errors.iter().map(|error| (error["line"].as_u64().unwrap(), error["field"].as_str().unwrap())).collect()
}

/// Goal: every invalid row of an inventory is named by line and column, and then nothing is imported.
/// Method: valid rows around invalid ones of each kind; then rows that contradict what is whitelisted.
#[tokio::test]
async fn invalid_rows_are_named_by_line_and_nothing_is_imported() {
    let server = start_server(&[]);
    let (first, second) = (server.device("KS-1"), server.device("KS-2"));
    let header = "serial,device_id,public_key,manufacturer,model,site\n";
    let key = server.device("KS-9").key.public_key();
    let valid = first.inventory_row();
    let invalid = format!(
        "{header}{valid}S2,2-bad,{key},Acme,KS-100,north\nS3,KS-3,c2hvcnQ=,Acme,KS-100,north\n,KS-4,{key},Acme,KS-100,north\nS5,KS-5\n{valid}{}",
        second.inventory_row()
    );
    let problem = server.import(invalid).await.problem(422);
    assert_eq!(
        locations(&problem),
        [(3, "device_id"), (4, "public_key"), (5, "serial"), (6, "row"), (7, "device_id"), (7, "public_key")]
    );
    assert!(problem["errors"].as_array().unwrap().iter().all(|error| error["what"].as_str().unwrap().len() > 10));
    for (text, field) in [("", "header"), (header, "file"), ("a,b\n1,2\n", "header"), ("\u{1}\u{2}", "header")] {
        assert_eq!(locations(&server.import(text).await.problem(422)), [(1, field)], "{text:?}");
    }
    assert_eq!(server.get("/api/devices").await.done()["items"], json!([]));

    assert_eq!(server.import(inventory(&[&first])).await.done(), json!({ "added": 1, "unchanged": 0, "revoked": 0 }));
    assert_eq!(
        server.import(inventory(&[&first, &second])).await.done(),
        json!({ "added": 1, "unchanged": 1, "revoked": 0 })
    );
    let third = server.device("KS-3").inventory_row();
    let (first_key, new_key) = (first.key.public_key(), server.device("KS-8").key.public_key());
    let contradicting = format!(
        "{header}{third}S-KS-4,KS-4,{first_key},Acme,KS-100,north\nS-KS-2,KS-2,{new_key},Acme,KS-100,north\n{}",
        valid.replace("north", "south")
    );
    // A key that is on two lines of one file is found before the database is queried; hence one contradiction at a time.
    let problem = server.import(contradicting.replace(&valid.replace("north", "south"), "")).await.problem(422);
    assert_eq!(locations(&problem), [(3, "public_key"), (4, "public_key")]);
    let problem = server.import(format!("{header}{third}{}", valid.replace("north", "south"))).await.problem(422);
    assert_eq!(locations(&problem), [(3, "site")]);
    assert_eq!(server.get("/api/devices").await.done()["items"].as_array().unwrap().len(), 2);
}

/// Goal: one request imports a whole fleet, repeating it is harmless, and one request sends a command to all of it.
/// Method: 20,000 rows, twice; the first and the last device register; an order for all, twice; the totals of the audit are
/// correct.
#[tokio::test]
async fn one_request_imports_or_commands_20_000_devices() {
    const ROWS: usize = 20_000;
    let server = start_server(&[]);
    let mut devices: Vec<Device> = (0..ROWS).map(|number| server.device(&format!("KS-{number:06}"))).collect();
    let csv = inventory(&devices.iter().collect::<Vec<_>>());
    assert_eq!(server.import(csv.as_str()).await.done(), json!({ "added": ROWS, "unchanged": 0, "revoked": 0 }));
    assert_eq!(server.import(csv).await.done(), json!({ "added": 0, "unchanged": ROWS, "revoked": 0 }));
    devices[0].register(None).await.answer();
    devices[ROWS - 1].register(None).await.answer();
    let last = &server.get("/api/devices?cursor=19999").await.done()["items"][0];
    assert_eq!((&last["device_id"], &last["status"]), (&"KS-019999".into(), &"REGISTERED".into()));
    let order = json!({ "which": { "all": true }, "command": { "kind": "reboot" }, "ttl_s": 600, "client_token": "t" });
    for is_repeated in [false, true] {
        let done = server.post("/api/commands", &order).await.done();
        assert_eq!((&done["queued"], &done["repeated"]), (&json!(ROWS), &json!(is_repeated)));
    }
    assert_eq!(server.count(Count::DevicesWithCommands), 20_000);
    for action in ["device.import", "command.order"] {
        let lines = server.get(&format!("/api/audit?action={action}&limit=1000")).await.done();
        let device_count =
            |line: &Value| line["subject"].as_str().unwrap().strip_suffix(" devices").unwrap().parse::<usize>();
        let total: usize = lines["items"].as_array().unwrap().iter().map(|line| device_count(line).unwrap()).sum();
        assert_eq!(total, ROWS, "{action}");
    }
}

/// Reads a list page by page; returns the sizes of the pages and every entry.
async fn read_pages(server: &crate::support::Server, list: &str, limit: usize) -> (Vec<usize>, Vec<Value>) {
    let (mut sizes, mut entries, mut after) = (Vec::new(), Vec::new(), json!("0"));
    while let Some(cursor) = after.as_str().map(str::to_owned).filter(|_| sizes.len() < 20) {
        let mut page = server.get(&format!("/api/{list}?cursor={cursor}&limit={limit}")).await.done();
        let Value::Array(rows) = page["items"].take() else { panic!("{page}") };
        sizes.push(rows.len());
        entries.extend(rows);
        after = page["next_cursor"].take();
    }
    (sizes, entries)
}

/// Goal: a list read page by page is the whole list, each entry once, in order.
/// Method: devices, heartbeats and commands, with pages that divide the list and pages that do not.
#[tokio::test]
async fn lists_are_paged() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 20).await;
    for device in &mut fleet {
        device.beat().await.answer();
        server.enqueue(device, "reboot", "").await;
    }
    let expected: Vec<Value> = fleet.iter().map(|device| device.id.as_str().into()).collect();
    for list in ["devices", "heartbeats", "commands"] {
        let (sizes, entries) = read_pages(&server, list, 8).await;
        assert_eq!(sizes, [8, 8, 4], "{list}");
        let name = |entry: &Value| if list == "heartbeats" { entry[1].clone() } else { entry["device_id"].clone() };
        assert_eq!(entries.iter().map(name).collect::<Vec<_>>(), expected, "{list}");
        assert_eq!(
            read_pages(&server, list, 10).await.0,
            [10, 10, 0],
            "{list}: a full page can't know that it is the last"
        );
        assert_eq!(read_pages(&server, list, 10_000).await.0, [20], "{list}");
        for wrong in [
            "limit=many",
            "cursor=x",
            "cursor=%2B5",
            "cursor=05",
            "cursor=-5",
            "limit=-1",
            "limit=0",
            "limit=10001",
            "offset=5",
        ] {
            server.get(&format!("/api/{list}?{wrong}")).await.problem(400);
        }
        for (wrong, reported) in [
            ("limit=05", "limit: expected a whole number, got `05`"),
            ("limit=%2B5", "limit: expected a whole number, got `+5`"),
            ("limit=many", "limit: expected a whole number, got `many`"),
            ("limit=10001", "limit: expected 1 to 10000, got 10001"),
        ] {
            let problem = server.get(&format!("/api/{list}?{wrong}")).await.problem(400);
            assert_eq!(problem["detail"], reported);
        }
    }
    let (_, beats) = read_pages(&server, "heartbeats", 1_000).await;
    let row = &beats[0];
    assert_eq!(json!([row[0], row[1], row[2], row[3], row[4]]), json!([1, "KS-0", 1, 2, 120]));
    let received_at: ks_protocol::time::UnixMs = row[5].as_str().unwrap().parse().unwrap();
    let stored: Value = serde_json::from_str(&server.whole_beat(0)).unwrap();
    assert_eq!(stored[1], received_at.0);
}

/// Goal: a misspelled field is refused rather than ignored, and nothing is done.
/// Method: a valid order with one extra field, on every endpoint that takes JSON; then bodies that are not JSON.
#[tokio::test]
async fn unknown_fields_and_invalid_json_are_refused() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let orders = [
        ("/api/devices/revoke", json!({ "which": { "device_ids": ["KS-1"] }, "reason": "sold" })),
        ("/api/devices/KS-1/revoke", json!({ "reason": "sold" })),
        ("/api/otrts", json!({ "count": 1, "ttl_s": 60 })),
        ("/api/commands", json!({ "which": { "device_ids": ["KS-1"] }, "command": { "kind": "reboot" }, "ttl_s": 60 })),
    ];
    for (path, mut order) in orders {
        let whole = order.to_string();
        order["dry_run"] = true.into();
        let problem = server.post(path, &order).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("dry_run"), "{problem}");
        server.admin("POST", path, &whole[..whole.len() - 1]).await.problem(400);
        server.admin("POST", path, "[]").await.problem(400);
        server.admin("POST", path, "").await.problem(400);
    }
    for (path, order) in [
        ("/api/otrts", json!({ "count": 0, "ttl_s": 60 })),
        ("/api/otrts", json!({ "count": 1, "ttl_s": 0 })),
        ("/api/otrts", json!({ "count": 100_001, "ttl_s": 60 })),
        ("/api/devices/1-bad/revoke", json!({ "reason": "sold" })),
    ] {
        server.post(path, &order).await.problem(400);
    }
    assert!(device.beat().await.answer().commands.is_empty());
    assert_eq!(server.count(Count::Otrts), 0);
}

/// Goal: a time range that ends before it begins is an error, and not an empty answer that looks like a quiet day.
/// Method: every endpoint that takes since and until, found in the API's own document.
#[tokio::test]
async fn a_time_range_that_ends_before_it_begins_is_refused() {
    let server = start_server(&[]);
    let document = server.get("/api/openapi.json").await.done();
    let takes = |operation: &Value, name: &str| {
        operation["parameters"].as_array().is_some_and(|all| all.iter().any(|parameter| parameter["name"] == name))
    };
    let paths = document["paths"].as_object().unwrap();
    let spans: Vec<_> =
        paths.iter().filter(|(_, path)| takes(&path["get"], "since") && takes(&path["get"], "until")).collect();
    assert!(spans.len() >= 4, "{spans:?}");
    let (early, late) = ("2026-11-24T00:00:00.000Z", "2026-11-25T00:00:00.000Z");
    for (path, _) in spans {
        let request = |since: &str, until: &str| format!("{path}?since={since}&until={until}");
        let problem = server.get(&request(late, early)).await.problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("since, until: {late} is after {early}")), "{path}: {detail}");
        for (since, until) in [(early, late), (early, early)] {
            assert_eq!(server.get(&request(since, until)).await.status, 200, "{path}");
        }
    }
}

/// Goal: a body beyond the bound is refused, and the server continues to serve.
/// Method: JSON of 8 MiB and one byte.
#[tokio::test]
async fn an_oversized_body_is_refused() {
    let server = start_server(&[]);
    let whole = json!({ "count": 1, "ttl_s": 60, "model": "" }).to_string();
    let filled = whole.replace("\"\"", &format!("\"{}\"", "x".repeat(8 * 1024 * 1024 + 1 - whole.len())));
    assert_eq!(filled.len(), 8 * 1024 * 1024 + 1);
    server.admin("POST", "/api/otrts", filled).await.problem(413);
    server.assert_healthy().await;
    assert_eq!(server.count(Count::Otrts), 0);
}

/// Goal: the audit records who did something, and what it was.
/// Method: one action of each kind; the audit is read from the database.
#[tokio::test]
async fn actions_of_admins_are_audited() {
    let server = start_server(&[]);
    let device = server.registered("KS-1").await;
    server.otrt(json!({})).await;
    server.enqueue(&device, "reboot", "").await;
    server.revoke(&device).await.done();
    let audited = server.audit_lines(|_| true);
    let audited: Vec<_> = audited.iter().map(|line| [&*line.actor, &*line.action, &*line.subject]).collect();
    let expected = [
        ["ks-server", "key.announce", "kb600306cfa76723f"],
        ["admin-token", "device.import", "1 device"],
        ["KS-1", "device.register", "KS-1"],
        ["admin-token", "otrt.make", "1 token"],
        ["admin-token", "command.order", "1 device"],
        ["admin-token", "device.revoke", "KS-1"],
    ];
    assert_eq!(audited, expected);
}
