//! Budgets of devices and of addresses: who is refused, and who is not.

use std::net::{IpAddr, Ipv4Addr};

use ks_protocol::{id::Sequence, key::PrivateKey, message::NextBeat, refusal::RefusalCode as Code};

use super::documents::valid_text;
use crate::support::{Sent, Server, start_server};

const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// Goal: a device has a budget of verified requests on all endpoints together; it refills with time.
/// Method: a budget of 5 that hardly refills.
#[tokio::test]
async fn a_rate_limited_device_gets_a_time_to_wait() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "5")]);
    let (mut device, mut other) = (server.registered("KS-1").await, server.registered("KS-2").await);
    device.ack(&[]).await.answer();
    for _ in 0..3 {
        device.beat().await.answer();
    }
    let refusal = device.beat().await.refusal(Code::RateLimited);
    assert!((30..=75).contains(&refusal.retry_after_s.unwrap()), "{refusal:?}");
    assert!(refusal.message.contains("device"), "{refusal:?}");
    device.ack(&[]).await.refusal(Code::RateLimited);
    other.beat().await.answer();
    assert_eq!(server.beats().len(), 4);
}

/// Goal: an address that only fails is refused before the expensive checks, and honest devices behind it are not.
/// Method: an address fails until its budget is spent; then devices that were seen there before, new ones, and ones that come from
/// elsewhere are accepted there; an unknown device and a replay of an old request are not.
#[tokio::test]
async fn a_flooded_address_does_not_lock_out_known_devices() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "5")];
    let server = start_server(&settings);
    let mut neighbour = server.registered("KS-neighbour").await;
    let mut newcomer = server.whitelisted("KS-newcomer").await;
    let message = neighbour.next_heartbeat();
    let captured = neighbour.sign(&message);
    neighbour.send::<NextBeat>("/heartbeat", &captured).await.answer();
    for _ in 0..10 {
        neighbour.beat().await.answer(); // successful requests are not charged
    }

    flood(&server, crate::support::HOME, 5).await;
    let mut unknown_device = server.device("KS-nobody");
    let refusal = unknown_device.beat().await.refusal(Code::RateLimited);
    assert!(refusal.message.contains("address") && refusal.retry_after_s.unwrap() > 30, "{refusal:?}");
    unknown_device.send::<NextBeat>("/heartbeat", &captured).await.refusal(Code::RateLimited);
    neighbour.beat().await.answer();
    newcomer.register(None).await.answer(); // whitelisted, and this is a device's first pair

    newcomer.moves_to(&server, loopback(2));
    newcomer.beat().await.answer();
    flood(&server, loopback(2), 5).await;
    for device in [&mut neighbour, &mut newcomer] {
        device.moves_to(&server, loopback(2));
        device.beat().await.answer();
    }
}

/// Spends the rest of an address's budget.
async fn flood(server: &Server, address: IpAddr, budget: usize) {
    let mut unknown_device = server.device("KS-nobody");
    unknown_device.moves_to(server, address);
    for _ in 0..budget {
        unknown_device.beat().await;
    }
    unknown_device.beat().await.refusal(Code::RateLimited);
}

/// Goal: failures that are normal before a device is provisioned are not charged to its address.
/// Method: beats before registering and registrations with a wrong token, many more than the budget.
#[tokio::test]
async fn failures_during_provisioning_are_not_charged_to_the_address() {
    let server = start_server(&[
        ("OTRT_REQUIRED", "true"),
        ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"),
        ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "2"),
    ]);
    let mut device = server.whitelisted("KS-1").await;
    for _ in 0..4 {
        device.beat().await.refusal(Code::NotRegistered);
        device.register(None).await.refusal(Code::OtrtRequired);
        device.register(Some("no-such-token")).await.refusal(Code::OtrtInvalid);
    }
    server.device("KS-nobody").beat().await.refusal(Code::UnknownDevice);
}

/// Goal: every failure that an attacker can repeat at will is charged to the address that causes it.
/// Method: a budget of 3; the same failure from a separate address until it is refused with a time to wait.
#[tokio::test]
async fn repeatable_failures_are_bounded_by_address() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let server = start_server(&settings);
    let mut victim = server.registered("KS-victim").await;
    let message = victim.next_heartbeat();
    let captured = victim.sign(&message);
    victim.send::<NextBeat>("/heartbeat", &captured).await.answer();
    let mut forger = server.device("KS-victim");
    forger.key = PrivateKey::from_seed(&[99; 32]);
    let register = forger.next_register(None);
    forger.at = Sequence::new(999, 0); // a client that can't sign gets no pair
    let mut outcast = server.registered("KS-outcast").await;
    server.revoke(&outcast).await.done();
    let message = outcast.next_heartbeat();
    let failures = [
        ("/heartbeat", captured, Code::StaleSequence),
        ("/heartbeat", outcast.sign(&message), Code::Revoked),
        (
            "/heartbeat",
            forger.sign_text("/heartbeat", &valid_text(&mut server.device("KS-victim"))),
            Code::BadSignature,
        ),
        ("/heartbeat", forger.sign_text("/heartbeat", "type: nothing\n"), Code::Malformed),
        ("/register", forger.sign(&register), Code::KeyMismatch),
    ];
    for ((path, signed, code), last) in failures.into_iter().zip(10..) {
        forger.moves_to(&server, loopback(last));
        for _ in 0..3 {
            forger.send::<NextBeat>(path, &signed).await.refusal(code);
        }
        forger.send::<NextBeat>(path, &signed).await.refusal(Code::RateLimited);
        forger.beat().await.refusal(Code::RateLimited);
        // Also a request without a signature, which is answered unbound.
        forger.send_unbound(Sent::toon("/heartbeat", "not a document")).await.refusal(Code::RateLimited);
    }
    victim.beat().await.answer();
}

/// Goal: an attacker who forges requests from the address of a site, in the names of its devices, can neither silence the site nor
/// make the server check an unbounded number of signatures.
/// Method: the address is flooded; then each of its devices is forged there with wrong pairs and with its very next ones, many
/// more than may fail; all continue on their open connections, and one that was forged less often reconnects.
#[tokio::test]
async fn forging_devices_of_a_flooded_address_is_bounded_and_silences_no_device() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let server = start_server(&[&settings[..], &[("RATE_LIMIT_DEVICE_BURST", "1000")]].concat());
    let mut site = server.fleet("KS", 5).await;
    for device in &mut site {
        device.beat().await.answer();
    }
    flood(&server, crate::support::HOME, 3).await;
    for device in &site {
        let mut forger = server.device(device.id.as_str());
        forger.key = PrivateKey::from_seed(&[99; 32]);
        let mut far_off = forger.next_heartbeat();
        far_off.boot_epoch = 1_000;
        let far_off = forger.sign(&far_off);
        for _ in 0..10 {
            forger.send::<NextBeat>("/heartbeat", &far_off).await.refusal(Code::RateLimited);
        }
    }
    let mut forger = server.device(site[0].id.as_str());
    forger.key = PrivateKey::from_seed(&[99; 32]);
    let mut next = site[0].next_heartbeat();
    next.boot_epoch += 1;
    let next = forger.sign(&next);
    let mut checked = 0;
    while forger.send::<NextBeat>("/heartbeat", &next).await.raw.status != Code::RateLimited.status() {
        checked += 1;
        assert!(checked < 1_000, "the number of checks is not bounded");
    }
    assert!(checked >= 60, "{checked}");
    for device in &mut site {
        device.beat().await.answer();
    }
    site[1].moves_to(&server, crate::support::HOME); // reconnects
    site[1].beat().await.answer();
}

/// Goal: an attacker who names very many devices that were never seen, whose first pair is easy to guess, gets only a bounded
/// number of signature checks, and silences no device that was seen before.
/// Method: the address is flooded; then devices are forged there one after the other, each once, until one is refused unchecked.
#[tokio::test]
async fn forging_devices_never_seen_is_bounded_over_all_of_them() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let server = start_server(&settings);
    let mut known = server.registered("KS-known").await;
    let newcomers: Vec<_> = (0..3_000).map(|number| server.device(&format!("KS-new-{number}"))).collect();
    server.whitelist(&newcomers.iter().collect::<Vec<_>>()).await;
    flood(&server, crate::support::HOME, 3).await;
    let mut checked = 0;
    for newcomer in &newcomers {
        let mut forger = server.device(newcomer.id.as_str());
        forger.key = PrivateKey::from_seed(&[99; 32]);
        if forger.beat().await.raw.status == Code::RateLimited.status() {
            break;
        }
        checked += 1;
    }
    assert!((200..3_000).contains(&checked), "{checked}");
    known.moves_to(&server, crate::support::HOME); // reconnects
    known.beat().await.answer();
}

/// Goal: after a restart, flooding a site's address still does not lock out its devices.
/// Method: the server starts again; the address is flooded before its devices send anything.
#[tokio::test]
async fn after_a_restart_a_flooded_address_does_not_lock_out_its_devices() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let mut server = start_server(&settings);
    let mut devices = server.fleet("KS", 10).await;
    server.start_again();
    flood(&server, crate::support::HOME, 3).await;
    for device in &mut devices {
        device.moves_to(&server, crate::support::HOME);
        device.beat().await.answer();
    }
}

/// Goal: requests that name a victim do not spend the victim's budget.
/// Method: someone else's signatures in the victim's name, many more than its budget; then the victim uses all of it.
#[tokio::test]
async fn forged_requests_do_not_spend_the_budget_of_the_device_they_name() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "6")]);
    let mut victim = server.registered("KS-victim").await;
    let mut forger = server.device("KS-victim");
    forger.key = PrivateKey::from_seed(&[99; 32]);
    forger.moves_to(&server, loopback(9));
    for _ in 0..30 {
        forger.beat().await.refusal(Code::BadSignature);
    }
    for _ in 0..5 {
        victim.beat().await.answer();
    }
    victim.beat().await.refusal(Code::RateLimited);
}
