//! Every code that the protocol has, from the server itself.

use ks_protocol::{
    key::PrivateKey,
    message::{Heartbeat, NextBeat, Request as _},
    refusal::RefusalCode as Code,
    signature::NO_SIG_DEV,
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::fill_queue;
use crate::support::{
    CommitHold, Device, HOME, Line, Sent, Server, VerifiedAnswer, bare_answer, read_answer, start_server,
};

/// Goal: the server sends every code, with all that belongs to it; a new code does not compile here until it is caused.
/// Method: for each code the least that leads to it, each with a server and devices of its own.
#[tokio::test]
async fn every_code_is_sent() {
    for code in Code::ALL {
        cause(*code).await;
    }
}

/// The settings of a server that sends this code soon.
fn settings(code: Code) -> &'static [(&'static str, &'static str)] {
    match code {
        Code::OtrtRequired | Code::OtrtInvalid | Code::OtrtUsed => &[("OTRT_REQUIRED", "true")],
        Code::RateLimited => &[("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "5")],
        Code::RequestTimeout => &[("REQUEST_TIMEOUT_MS", "1000")],
        Code::Overloaded => &[("STORE_QUEUE_MAX", "16"), ("COMMIT_GROUP_MAX", "1")],
        _ => &[],
    }
}

/// Sends what is refused with this code.
async fn cause(code: Code) {
    let server = start_server(settings(code));
    let mut new = server.whitelisted("KS-new").await;
    let other_key = PrivateKey::from_seed(&[8; 32]);
    match code {
        Code::Malformed => new.send_unbound(Sent::toon("/heartbeat", "not a document")).await.refusal(code),
        Code::BadSignature => {
            new.key = other_key;
            new.beat().await.refusal(code)
        }
        Code::UnknownDevice => server.device("KS-nobody").beat().await.refusal(code),
        Code::Revoked => {
            server.revoke(&new).await.done();
            new.beat().await.refusal(code)
        }
        Code::NotRegistered => new.beat().await.refusal(code),
        Code::OtrtRequired => new.register(None).await.refusal(code),
        Code::OtrtInvalid => new.register(Some("A-token-that-nobody-ever-made")).await.refusal(code),
        Code::OtrtUsed => {
            let token = server.otrt(json!({})).await;
            new.register(Some(&token)).await.answer();
            server.whitelisted("KS-late").await.register(Some(&token)).await.refusal(code)
        }
        Code::KeyMismatch => {
            new.key = other_key;
            new.register(None).await.refusal(code)
        }
        Code::NotFound => new.send_unbound(Sent::toon("/nowhere", "")).await.refusal(code),
        Code::MethodNotAllowed => new.send_unbound(Sent::get("/heartbeat")).await.refusal(code),
        Code::RequestTimeout => half_a_request(&server).await.refusal(code),
        Code::KeyInUse => {
            let taken = new.key.clone();
            server.registered("KS-1").await.rotate_to(&taken).await.refusal(code)
        }
        Code::StaleSequence => {
            new.register(None).await.answer();
            let message = new.next_heartbeat();
            new.send_message::<_, NextBeat>(&message).await.answer();
            new.send_message::<_, NextBeat>(&message).await.refusal(code)
        }
        Code::TooLarge => {
            let body = vec![b'x'; Heartbeat::BODY_BYTES_MAX + 1];
            new.send_unbound(Sent::toon("/heartbeat", body)).await.refusal(code)
        }
        Code::UnsupportedMediaType => {
            let sent = Sent { headers: &[("content-type", "text/plain")], ..Sent::toon("/heartbeat", "") };
            new.send_unbound(sent).await.refusal(code)
        }
        Code::RateLimited | Code::Internal | Code::Overloaded => {
            new.register(None).await.answer();
            let _held = exhaust(&server, &mut new, code).await;
            new.beat().await.refusal(code)
        }
        Code::Unrecognised => unreachable!("it stands for the codes of newer servers"),
    };
}

/// Declares a body and sends half of it; the answer.
async fn half_a_request(server: &Server) -> VerifiedAnswer<NextBeat> {
    let mut stream = Line::bare(server.address(), HOME).await.unwrap();
    let half = b"POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\ncontent-length: 9\r\n\r\ntype";
    stream.write_all(half).await.unwrap();
    read_answer(bare_answer(&mut stream).await, NO_SIG_DEV)
}

/// Uses up what the next heartbeat needs: the device's budget of 5, the table, or the queue.
async fn exhaust(server: &Server, device: &mut Device, code: Code) -> Option<CommitHold> {
    match code {
        Code::RateLimited => {
            for _ in 1..5 {
                device.beat().await.answer();
            }
        }
        Code::Internal => {
            server.break_heartbeats();
        }
        _ => return Some(fill_queue(server).await.0),
    }
    None
}
