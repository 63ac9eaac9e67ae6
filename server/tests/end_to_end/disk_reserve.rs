//! Goal: a disk that devices have filled does not stop operators: the reserve is enough to block the device that causes it.
//! Method: a reserve that is larger than any disk, so that the disk counts as full from the first check on.

use crate::support::{eventually, start_server};
use ks_protocol::refusal::RefusalCode;

/// Goal: with less free space than the reserve, nothing from devices is stored, and operators can still work.
/// Method: a device beats until it is refused; it can still be revoked; monitoring says what to do.
#[tokio::test]
async fn the_disk_reserve_is_for_operators() {
    let server = start_server(&[("DISK_RESERVE_BYTES", "9007199254740991")]);
    let mut device = server.device("KS-1");
    server.whitelist(&[&device]).await;
    let _ = device.register(None).await; // before the first check, or refused
    eventually("the full disk is noticed", async || server.get("/health").await.status == 503).await;
    let refusal = device.beat().await.refusal(RefusalCode::Overloaded);
    assert!(refusal.message.contains("disk") && (60..=75).contains(&refusal.retry_after_s.unwrap()), "{refusal:?}");
    let health = server.get("/health").await;
    assert!(health.body["store"].as_str().unwrap().contains("DISK_RESERVE_BYTES"), "{}", health.body);
    assert!(server.metric("ks_disk_free_bytes").await.unwrap() > 0.0);
    assert_eq!(server.revoke(&device).await.done()["revoked"], 1);
    device.beat().await.refusal(RefusalCode::Revoked);
    assert_eq!(server.log().lines().filter(|line| line.contains("the disk is nearly full")).count(), 1);
}
