//! Goal: the factory provisions devices by tool and by API alike: one at a time or by inventory, import and export, with tokens
//! that one device uses, however many race for them.
//! Method: `ks-server factory` and the admin API next to each other on a running server.

use crate::support::{Count, start_server};
use ks_protocol::{key::PrivateKey, refusal::RefusalCode as Code};
use serde_json::{Value, json};

/// Goal: option A (the device made its key) and option B (the factory makes it) by tool and by API.
/// Method: one device each way; all register.
#[tokio::test]
async fn a_device_is_enrolled_with_its_own_or_a_factory_key() {
    let server = start_server(&[]);
    let about = ["--serial", "S1", "--manufacturer", "Acme", "--model", "KS-100", "--site", "north"];
    let mut own = server.device("KS-own");
    let key = own.key.public_key().to_string();
    let ran = server.run(&[&["factory", "enroll", "KS-own", "--public-key", &key], &about[..]].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "1 device whitelisted, 0 already whitelisted\n"), "{ran:?}");
    own.register(None).await.answer();

    let ran = server.run(&[&["factory", "enroll", "KS-made", "--key-out", "made.pem"], &about[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut made = server.device("KS-made");
    made.key = PrivateKey::from_pem(&std::fs::read_to_string(server.path("made.pem")).unwrap()).unwrap();
    made.register(None).await.answer();
    let refused = server.run(&[&["factory", "enroll", "KS-made", "--key-out", "other.pem"], &about[..]].concat());
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(!server.path("other.pem").exists(), "no key file remains for a refused device");

    let mut by_api = server.device("KS-api");
    let new = json!({
        "device_id": "KS-api", "public_key": by_api.key.public_key(), "serial": "S3", "manufacturer": "Acme",
        "model": "KS-100", "site": "north",
    });
    let factory = server.token("factory").await;
    server.admin_as(&factory, "POST", "/api/devices", new.to_string()).await.done();
    by_api.register(None).await.answer();
    server.admin_as(&factory, "POST", "/api/devices/revoke", "{}").await.problem(403);
}

/// Goal: an exported inventory can be imported again, unchanged.
/// Method: an inventory with quotes and commas is exported both ways and imported into another server.
#[tokio::test]
async fn an_exported_inventory_can_be_imported_again() {
    let server = start_server(&[]);
    let (first, second) = (server.device("KS-1"), server.device("KS-2"));
    let odd = second.inventory_row().replace(",north\n", ",\"north, \"\"old\"\" wing\"\n");
    let csv = crate::support::inventory(&[&first]) + &odd;
    server.import(csv.as_str()).await.done();
    let by_api = server.get("/api/devices/export").await;
    assert_eq!(by_api.content_type, "text/csv; charset=utf-8");
    assert_eq!(by_api.body, Value::String(csv.clone()));
    assert_eq!(server.run(&["factory", "export"]).stdout, csv);
    assert_eq!(server.run(&["factory", "export", "out.csv"]).code, Some(0));
    let other = start_server(&[]);
    let file = server.path("out.csv");
    let ran = other.run(&["factory", "import", file.to_str().unwrap(), "--json"]);
    let done: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(done, json!({ "added": 2, "unchanged": 0, "revoked": 0 }));
    assert_eq!(other.run(&["factory", "export", "--site", "north"]).stdout, crate::support::inventory(&[&first]));
}

/// Goal: one token, a thousand devices at the same moment: exactly one registers.
/// Method: each on its own connection; then the winner again, and a loser.
#[tokio::test]
async fn a_thousand_devices_race_for_one_token() {
    const RACERS: usize = 1_000;
    let limits = crate::support::NO_LIMITS.into_iter().chain([("OTRT_REQUIRED", "true")]).collect::<Vec<_>>();
    let server = start_server(&limits);
    let devices: Vec<_> = (0..RACERS).map(|number| server.device(&format!("KS-{number}"))).collect();
    server.whitelist(&devices.iter().collect::<Vec<_>>()).await;
    let token = server.otrt(json!({})).await;
    let racing = devices.into_iter().map(|mut device| {
        let token = token.clone();
        tokio::spawn(async move {
            let answer = device.register(Some(&token)).await;
            let has_won = answer.raw.status == 200;
            if !has_won {
                answer.refusal(Code::OtrtUsed);
            }
            (device, has_won)
        })
    });
    let racing: Vec<_> = racing.collect();
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for race in racing {
        let (device, has_won) = race.await.unwrap();
        if has_won { &mut winners } else { &mut losers }.push(device);
    }
    assert_eq!((winners.len(), losers.len()), (1, RACERS - 1));
    winners[0].register(Some(&token)).await.answer();
    losers[0].register(Some(&token)).await.refusal(Code::OtrtUsed);
    assert_eq!(server.count(Count::EverRegistered), 1);
}

/// Goal: a token for a device that is not whitelisted yet is made, with a notice.
/// Method: the tool with an unknown and with a known device.
#[tokio::test]
async fn a_token_for_an_unknown_device_is_reported() {
    let server = start_server(&[]);
    let unknown = server.run(&["factory", "make-otrt", "--device", "KS-later"]);
    assert_eq!(unknown.code, Some(0));
    assert!(unknown.stderr.contains("not whitelisted yet"), "{unknown:?}");
    server.whitelisted("KS-later").await;
    let known = server.run(&["factory", "make-otrt", "--device", "KS-later", "--json"]);
    assert_eq!((known.code, known.stderr.as_str()), (Some(0), ""));
    let made: Value = serde_json::from_str(&known.stdout).unwrap();
    assert_eq!(made["tokens"].as_array().unwrap().len(), 1);
}

/// Goal: an array is not an object, although serde accepts one for a struct: the order of elements must never be taken for field
/// names.
#[tokio::test]
async fn an_array_in_place_of_an_object_is_refused() {
    let server = start_server(&[]);
    let refused = server.post("/api/otrts", &json!([1, 3600])).await.problem(400);
    assert_eq!(refused["detail"], "expected an object, got an array");
    assert_eq!(server.count(Count::Otrts), 0);
}
