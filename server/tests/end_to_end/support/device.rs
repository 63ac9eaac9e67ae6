//! A device of a test: signs its messages, and accepts only answers that the server signed for exactly that request.

use std::net::IpAddr;

use ks_protocol::{
    MEDIA_TYPE,
    document::split,
    id::{DeviceId, KeyId, Sequence},
    key::{PrivateKey, Verifier},
    message::{
        Ack, AckState, AcksRecorded, Attendance, CommandAck, Firmware, FirmwareArtifact, Heartbeat, KeyRotated,
        LogLine, Logs, LogsStored, Network, NextBeat, Punch, PunchesStored, REQUEST_HEADER, Register, Registered,
        Request, RotateKey, header_of_document,
    },
    refusal::{RefusalCode, RefusalDocument},
    signature::{
        Context, NO_SIG_DEV, Reply, SIG_DEV, SIG_SERV, SignedRequest, open_response, sign_request, sign_request_to,
        signing_input,
    },
    text::{Rows, Text},
    time::UnixMs,
};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Answer, HOME, Line, Sent, Server, server_key};

/// The time on every device's clock; nothing depends on it.
pub(crate) const SENT_AT: UnixMs = UnixMs(1_795_458_011_482);

#[derive(Debug)]
pub(crate) struct VerifiedAnswer<T> {
    pub(crate) reply: Reply<T>,
    pub(crate) raw: Answer,
}

impl<T> VerifiedAnswer<T> {
    /// The answer, which must not be a refusal.
    #[track_caller]
    pub(crate) fn answer(self) -> T {
        match self.reply {
            Reply::Answer(answer) => answer,
            Reply::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    /// The refusal, which must have this code and everything that belongs to it.
    #[track_caller]
    pub(crate) fn refusal(self, code: RefusalCode) -> RefusalDocument {
        let Reply::Refused(refusal) = self.reply else { panic!("an answer instead of {code}: {}", self.raw.text()) };
        assert_eq!((refusal.code, self.raw.status), (code, code.status()), "{refusal:?}");
        assert!(self.raw.text().starts_with(&format!("ERR1: {code}\n")), "{}", self.raw.text());
        assert!(!refusal.message.is_empty() && refusal.server_time.is_some(), "{refusal:?}");
        let has_retry_after = matches!(code, RefusalCode::RateLimited | RefusalCode::Overloaded);
        assert_eq!(refusal.retry_after_s.is_some(), has_retry_after, "{refusal:?}");
        let header = refusal.retry_after_s.map(|seconds| seconds.to_string());
        assert_eq!(self.raw.header("retry-after"), header);
        let names_pair = refusal.server_boot_epoch.is_some() && refusal.server_seq.is_some();
        assert_eq!(names_pair, code == RefusalCode::StaleSequence, "{refusal:?}");
        refusal
    }
}

/// Verifies SIG_SERV over this answer to the request with that SIG_DEV, and reads the answer. Stricter than a real device,
/// which may accept some refusals bound to `-` instead.
#[track_caller]
pub(crate) fn read_answer<T: DeserializeOwned>(raw: Answer, sig_dev: &str) -> VerifiedAnswer<T> {
    let public = server_key().public_key();
    read_answer_of(&[(public.key_id(), public.verifier().unwrap())], raw, sig_dev)
}

/// The same for a server that signs with this key.
#[track_caller]
pub(crate) fn read_answer_of<T: DeserializeOwned>(
    trusted: &[(KeyId, Verifier); 1],
    raw: Answer,
    sig_dev: &str,
) -> VerifiedAnswer<T> {
    assert_eq!(raw.header("content-type").as_deref(), Some(MEDIA_TYPE), "{raw:?}");
    let signed = split(&raw.body, SIG_SERV).unwrap();
    let input = signing_input(Context::Response { status: raw.status, sig_dev }, signed.body);
    assert!(trusted[0].1.verifies(input.as_bytes(), &signed.signature), "not bound to {sig_dev}: {raw:?}");
    match open_response(trusted, raw.status, sig_dev, &raw.body) {
        Ok(reply) => VerifiedAnswer { reply, raw },
        Err(error) => panic!("{error}: {raw:?}"),
    }
}

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) key: PrivateKey,
    /// The pair of its last request.
    pub(crate) at: Sequence,
    pub(crate) line: Line,
}

impl Device {
    /// The device with that id; its key is derived from the id.
    pub(crate) fn new(device_id: &str, line: Line) -> Self {
        let key = PrivateKey::from_seed(&Sha256::digest(device_id).into());
        Self { id: device_id.parse().unwrap(), key, at: Sequence::new(1, 0), line }
    }

    /// Its row in an inventory.
    pub(crate) fn inventory_row(&self) -> String {
        format!("S-{id},{id},{key},Acme,KS-100,north\n", id = self.id, key = self.key.public_key())
    }

    /// Connects to the server from `address` from now on.
    pub(crate) fn moves_to(&mut self, server: &Server, address: IpAddr) {
        self.line = Line::new(server.address(), address);
    }

    fn advance(&mut self) -> Sequence {
        self.at = Sequence::new(self.at.boot_epoch, self.at.seq.get() + 1);
        self.at
    }

    pub(crate) fn next_heartbeat(&mut self) -> Heartbeat {
        let Sequence { boot_epoch, seq } = self.advance();
        Heartbeat {
            kind: Default::default(),
            device_id: self.id.clone(),
            boot_epoch,
            seq,
            sent_at: SENT_AT,
            keyset_version: 1,
            firmware: Firmware { version: Text::truncated("1.4.2"), release_counter: 17 },
            uptime_s: 60 * seq.get(),
            cpu_temp_c: 41.5,
            free_mem_kib: 118_204,
            network: Network::Wifi,
            rssi_dbm: Some(-61),
            acks: Rows::default(),
        }
    }

    pub(crate) fn next_register(&mut self, otrt: Option<&str>) -> Register {
        let Sequence { boot_epoch, seq } = self.advance();
        Register {
            kind: Default::default(),
            device_id: self.id.clone(),
            boot_epoch,
            seq,
            sent_at: SENT_AT,
            public_key: self.key.public_key(),
            firmware_version: Text::truncated("1.4.2"),
            otrt: otrt.map(Text::truncated),
        }
    }

    pub(crate) fn sign<R: Request>(&self, message: &R) -> SignedRequest {
        sign_request(&self.key, message).unwrap()
    }

    /// Signs any text, TOON or not, as a request to `path`.
    pub(crate) fn sign_text(&self, path: &str, body: &str) -> SignedRequest {
        let sig_dev = self.key.sign(signing_input(Context::Request { method: "POST", path }, body).as_bytes());
        SignedRequest { wire: format!("{body}{SIG_DEV}: {sig_dev}"), sig_dev }
    }

    /// Sends signed bytes, and verifies the answer, which is bound to them.
    pub(crate) async fn try_send<T: DeserializeOwned>(
        &mut self,
        path: &str,
        signed: &SignedRequest,
    ) -> Result<VerifiedAnswer<T>, String> {
        let answer = self.line.exchange(Sent::toon(path, signed.wire.as_str())).await?;
        Ok(read_answer(answer, &signed.sig_dev.to_string()))
    }

    /// The same; the connection must not fail.
    pub(crate) async fn send<T: DeserializeOwned>(&mut self, path: &str, signed: &SignedRequest) -> VerifiedAnswer<T> {
        self.try_send(path, signed).await.unwrap()
    }

    /// Sends a request without a signature to which the answer could be bound.
    pub(crate) async fn send_unbound(&mut self, sent: Sent<'_>) -> VerifiedAnswer<NextBeat> {
        read_answer(self.line.exchange(sent).await.unwrap(), NO_SIG_DEV)
    }

    pub(crate) async fn send_message<R: Request, T: DeserializeOwned>(&mut self, message: &R) -> VerifiedAnswer<T> {
        let signed = self.sign(message);
        self.send(R::PATH, &signed).await
    }

    pub(crate) async fn register(&mut self, otrt: Option<&str>) -> VerifiedAnswer<Registered> {
        let message = self.next_register(otrt);
        self.send_message(&message).await
    }

    pub(crate) async fn beat(&mut self) -> VerifiedAnswer<NextBeat> {
        let message = self.next_heartbeat();
        self.send_message(&message).await
    }

    /// Beats once; the error is that the server has exited.
    pub(crate) async fn try_beat(&mut self) -> Result<VerifiedAnswer<NextBeat>, String> {
        let message = self.next_heartbeat();
        let signed = self.sign(&message);
        self.try_send("/heartbeat", &signed).await
    }

    /// Beats once, with ACKs of commands.
    pub(crate) async fn beat_with(&mut self, acks: &[(&str, AckState)]) -> VerifiedAnswer<NextBeat> {
        let message = Heartbeat { acks: acks_of(acks), ..self.next_heartbeat() };
        self.send_message(&message).await
    }

    /// Its next batch of log lines, the first of them with that number.
    pub(crate) fn next_logs(&mut self, first_line_no: u64, lines: Vec<LogLine>) -> Logs {
        let Sequence { boot_epoch, seq } = self.advance();
        Logs {
            kind: Default::default(),
            device_id: self.id.clone(),
            boot_epoch,
            seq,
            sent_at: SENT_AT,
            first_line_no: Sequence::new(0, first_line_no).seq,
            lines: Rows::truncated(lines),
        }
    }

    /// Sends log lines, the first of them with that number.
    pub(crate) async fn send_logs(&mut self, first_line_no: u64, lines: Vec<LogLine>) -> VerifiedAnswer<LogsStored> {
        let message = self.next_logs(first_line_no, lines);
        self.send_message(&message).await
    }

    /// Sends a request on a connection of its own, and does not read the answer.
    pub(crate) async fn send_only<R: Request>(&self, server: &Server, message: &R) -> TcpStream {
        let wire = self.sign(message).wire;
        let (path, length) = (R::PATH, wire.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = Line::bare(server.address(), HOME).await.unwrap();
        stream.write_all(format!("{head}{wire}").as_bytes()).await.unwrap();
        stream
    }

    /// Sends requests, each on a connection of its own, and hangs up before any of them is stored. The server must commit one write at
    /// a time.
    pub(crate) async fn send_and_hang_up<R: Request>(&self, server: &Server, messages: &[R]) {
        server.wait_until_idle().await;
        let others = server.fleet(&format!("{}-other", self.id), 2).await;
        let held = server.hold_commits();
        let beat = |mut other: Device| tokio::spawn(async move { other.beat().await });
        let others: Vec<_> = others.into_iter().map(beat).collect();
        server.wait_for_queued_writes(1).await; // one is in the held commit
        let mut streams = Vec::new();
        for (message, queued) in messages.iter().zip(2..) {
            let stream = self.send_only(server, message).await;
            server.wait_for_queued_writes(queued).await;
            streams.push(stream);
        }
        for mut stream in streams {
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await; // the server closes it, perhaps with a reset
            assert_eq!(String::from_utf8_lossy(&answer), "");
        }
        drop(held);
        for other in others {
            other.await.unwrap().answer();
        }
    }

    /// Its next batch of punches.
    pub(crate) fn next_attendance(&mut self, punches: Vec<Punch>) -> Attendance {
        let Sequence { boot_epoch, seq } = self.advance();
        Attendance {
            kind: Default::default(),
            device_id: self.id.clone(),
            boot_epoch,
            seq,
            sent_at: SENT_AT,
            punches: Rows::truncated(punches),
        }
    }

    pub(crate) async fn punch(&mut self, punches: Vec<Punch>) -> VerifiedAnswer<PunchesStored> {
        let message = self.next_attendance(punches);
        self.send_message(&message).await
    }

    /// Rotates its key to another one, signed by the present one.
    pub(crate) async fn rotate_to(&mut self, new: &PrivateKey) -> VerifiedAnswer<KeyRotated> {
        let Sequence { boot_epoch, seq } = self.advance();
        let message = RotateKey::new(self.id.clone(), Sequence { boot_epoch, seq }, SENT_AT, new);
        self.send_message(&message).await
    }

    /// Its next request for the image with that hash, or for any other text in its place.
    pub(crate) fn next_fetch(&mut self, sha256: &str) -> SignedRequest {
        let Sequence { boot_epoch, seq } = self.advance();
        let message = FirmwareArtifact {
            kind: Default::default(),
            device_id: self.id.clone(),
            boot_epoch,
            seq,
            sent_at: SENT_AT,
        };
        sign_request_to(&self.key, &artifact_path(sha256), &message).unwrap()
    }

    /// Fetches an image, with these additional headers.
    pub(crate) async fn fetch(&mut self, sha256: &str, headers: &[(&str, &str)]) -> Answer {
        let signed = self.next_fetch(sha256);
        fetch_with(&mut self.line, sha256, &header_of_document(&signed.wire), headers).await
    }

    /// The same; a refusal is expected.
    pub(crate) async fn fetch_refused(&mut self, sha256: &str) -> VerifiedAnswer<NextBeat> {
        let signed = self.next_fetch(sha256);
        let raw = fetch_with(&mut self.line, sha256, &header_of_document(&signed.wire), &[]).await;
        read_answer(raw, &signed.sig_dev.to_string())
    }

    /// Starts to fetch an image, and reads only the status; returns whether it is 200.
    pub(crate) async fn start_fetch(&mut self, server: &Server, sha256: &str) -> (TcpStream, bool) {
        let request = header_of_document(&self.next_fetch(sha256).wire);
        let mut lazy = Line::bare(server.address(), HOME).await.unwrap();
        let path = artifact_path(sha256);
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{REQUEST_HEADER}: {request}\r\n\r\n");
        lazy.write_all(head.as_bytes()).await.unwrap();
        let mut begin = [0; 15];
        lazy.read_exact(&mut begin).await.unwrap();
        (lazy, begin == *b"HTTP/1.1 200 OK")
    }

    /// Sends ACKs in a separate request.
    pub(crate) async fn ack(&mut self, acks: &[(&str, AckState)]) -> VerifiedAnswer<AcksRecorded> {
        let Sequence { boot_epoch, seq } = self.advance();
        let message = CommandAck {
            kind: Default::default(),
            device_id: self.id.clone(),
            boot_epoch,
            seq,
            sent_at: SENT_AT,
            acks: acks_of(acks),
        };
        self.send_message(&message).await
    }
}

fn artifact_path(sha256: &str) -> String {
    format!("/firmware/artifacts/{sha256}")
}

/// Fetches an image with that value of the request header.
pub(crate) async fn fetch_with(line: &mut Line, sha256: &str, request: &str, headers: &[(&str, &str)]) -> Answer {
    let (path, headers) = (artifact_path(sha256), [&[(REQUEST_HEADER, request)], headers].concat());
    line.exchange(Sent { method: "GET", path: &path, headers: &headers, body: Vec::new() }).await.unwrap()
}

fn acks_of<const MAX: usize>(acks: &[(&str, AckState)]) -> Rows<Ack, MAX> {
    let detail = Text::truncated("as the test says");
    let ack = |(command_id, state): &(&str, AckState)| Ack {
        command_id: command_id.parse().unwrap(),
        state: *state,
        detail: detail.clone(),
    };
    Rows::truncated(acks.iter().map(ack).collect())
}
