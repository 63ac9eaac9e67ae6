//! Keys and tokens that can't be used; none is ever shown.

use std::os::unix::fs::PermissionsExt;

use ks_protocol::key::PrivateKey;

use super::{check_refused, refused_with};
use crate::support::{server_key, start_server, world};

/// A private key that is damaged, and a part of it that must not be shown.
fn damaged_pem() -> (String, String) {
    let pem = server_key().to_pem().unwrap();
    let body = pem.lines().nth(1).unwrap().to_owned();
    (pem.replace(&body, &body[..body.len() - 4]), body[20..40].to_owned())
}

#[test]
fn a_malformed_key_in_the_environment_is_named_and_not_shown() {
    let (pem, part) = damaged_pem();
    for (wrong, named) in [
        (pem.as_str(), "its PEM is damaged"),
        ("hunter2-is-no-key", "not a PEM"),
        (&server_key().public_pem().unwrap(), "a public key, expected the private one"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----", "an OpenSSH private key"),
    ] {
        let ran = world(&[("SERVER_PRIVATE_KEY", wrong)]).serve_expecting_error();
        check_refused(&ran, 2, &["SERVER_PRIVATE_KEY", named]);
        assert!(!ran.stderr.contains(&part) && !ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn a_malformed_key_file_is_named_and_not_shown() {
    let (pem, part) = damaged_pem();
    let mut world = world(&[("SERVER_PRIVATE_KEY", "")]);
    let path = world.write("broken.pem", pem).display().to_string();
    world.set("SERVER_PRIVATE_KEY_FILE", &path);
    let ran = world.serve_expecting_error();
    check_refused(&ran, 2, &["SERVER_PRIVATE_KEY_FILE", &path, "is not PKCS#8"]);
    assert!(ran.stderr.contains("ks-server keys generate") && !ran.stderr.contains(&part), "{ran:?}");

    world.write("broken.pem", [0xff, 0xfe, 0x00]);
    check_refused(&world.serve_expecting_error(), 2, &["SERVER_PRIVATE_KEY_FILE", &path, "not text"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "/dev/zero");
    check_refused(&world.serve_expecting_error(), 2, &["SERVER_PRIVATE_KEY_FILE", "/dev/zero", "not a regular file"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "/nowhere/key.pem");
    check_refused(&world.serve_expecting_error(), 3, &["SERVER_PRIVATE_KEY_FILE", "cannot read /nowhere/key.pem"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "");
    world.set("SERVER_PRIVATE_KEY", &server_key().to_pem().unwrap());
    world.set("FIRMWARE_PRIVATE_KEY_FILE", "/nowhere/key.pem");
    check_refused(&world.serve_expecting_error(), 3, &["FIRMWARE_PRIVATE_KEY_FILE", "cannot read /nowhere/key.pem"]);
}

#[test]
fn a_key_given_twice_is_refused() {
    refused_with(
        &[("SERVER_PRIVATE_KEY_FILE", "key.pem")],
        2,
        &["SERVER_PRIVATE_KEY and SERVER_PRIVATE_KEY_FILE are both set"],
    );
}

#[test]
fn a_short_admin_token_is_named_and_not_shown() {
    for wrong in ["hunter2", "hunter2 with spaces in it"] {
        let ran = world(&[("ADMIN_TOKEN", wrong)]).serve_expecting_error();
        check_refused(&ran, 2, &["ADMIN_TOKEN", "not shown", "at least 16 characters"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

/// Goal: without a key the server makes one for development, which only its owner may read, says so, and keeps it.
/// Method: start twice; `keys generate` never overwrites.
#[tokio::test]
async fn the_development_key_is_private_and_reused() {
    let mut server = start_server(&[("SERVER_PRIVATE_KEY", "")]);
    let key_file = server.path("development-server-key.pem");
    let pem = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let public_key = PrivateKey::from_pem(&pem).unwrap().public_key();
    assert!(server.log().contains("DEVELOPMENT key"), "{}", server.log());
    server.kill_9();
    server.start_again();
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), pem);
    assert_eq!(server.run(&["keys", "export-pubkey", "--format", "base64"]).stdout.trim(), public_key.to_string());
    assert!(!server.log().contains(pem.lines().nth(1).unwrap()));
    let path = key_file.display().to_string();
    check_refused(&server.run(&["keys", "generate", "--out", &path]), 3, &["cannot write", &path]);
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), pem);
}

/// Goal: a key made by `keys generate` is private from the first moment, and works.
#[tokio::test]
async fn a_generated_key_file_is_private_and_works() {
    let mut world = world(&[("SERVER_PRIVATE_KEY", "")]);
    let path = world.path("keys/server.pem");
    let made = world.run(&["keys", "generate", "--out", &path.display().to_string()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let pem = std::fs::read_to_string(&path).unwrap();
    assert!(!made.stdout.contains(pem.lines().nth(1).unwrap()), "{made:?}");
    world.set("SERVER_PRIVATE_KEY_FILE", &path.display().to_string());
    let server = world.start();
    let key_id = PrivateKey::from_pem(&pem).unwrap().public_key().key_id();
    let keys = crate::support::Line::new(server.address(), crate::support::HOME)
        .exchange(crate::support::Sent::get("/keys"))
        .await
        .unwrap();
    assert!(keys.text().contains(&format!("\nkey_id: {key_id}\n")), "{}", keys.text());
}

/// Goal: a server whose devices know its key never continues with a new one.
/// Method: the development key is lost, or a setting misspelled; the database has a device.
#[tokio::test]
async fn a_fleet_is_not_given_a_new_key() {
    let mut server = start_server(&[("SERVER_PRIVATE_KEY", "")]);
    server.whitelisted("KS-1").await;
    server.kill_9();
    let key = server.path("development-server-key.pem");
    std::fs::remove_file(&key).unwrap();
    check_refused(&server.serve_expecting_error(), 2, &["has devices"]);
    assert!(!key.exists());
}
