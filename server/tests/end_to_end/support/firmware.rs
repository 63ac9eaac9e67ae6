//! Creates releases and rollouts through the admin API, and reads manifests as a device does.

use ks_protocol::{
    id::Sequence,
    manifest::Manifest,
    message::{Firmware, FirmwareStatus, FirmwareStatusRecorded, Heartbeat, NextBeat, UpdateClass, UpdateStep},
    text::Text,
};
use serde_json::{Value, json};

use super::{ADMIN_TOKEN, Device, HOME, Json, Line, Sent, Server, VerifiedAnswer, device::SENT_AT, server_key};

impl Server {
    /// Uploads an image; returns the server's answer.
    pub(crate) async fn upload(&self, image: impl Into<Vec<u8>>) -> Json {
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let headers = [("content-type", "application/octet-stream"), ("authorization", bearer.as_str())];
        let sent = Sent { method: "POST", path: "/api/artifacts", headers: &headers, body: image.into() };
        Json::of(Line::new(self.address(), HOME).exchange(sent).await.unwrap())
    }

    /// Creates an ACTIVE release with that id and counter for KS-100; returns the hash of its image.
    pub(crate) async fn released(&self, release_id: &str, release_counter: u64, image: &[u8]) -> String {
        let sha256 = self.upload(image).await.done()["sha256"].as_str().unwrap().to_owned();
        let draft = json!({
            "release_id": release_id, "version": release_id, "release_counter": release_counter, "models": ["KS-100"],
            "sha256": sha256,
        });
        self.post("/api/releases", &draft).await.done();
        for step in ["stage", "activate"] {
            self.post(&format!("/api/releases/{release_id}/{step}"), &json!({ "reason": "a test" })).await.done();
        }
        sha256
    }

    /// Rolls a release out to all devices.
    pub(crate) async fn roll_out(&self, rollout_id: &str, release_id: &str, policy: Value) -> Json {
        let request = json!({
            "rollout_id": rollout_id, "release_id": release_id, "which": { "all": true }, "policy": policy,
            "reason": "a test",
        });
        self.post("/api/rollouts", &request).await
    }

    /// A rollout as it is now.
    pub(crate) async fn rollout(&self, rollout_id: &str) -> Value {
        self.get(&format!("/api/rollouts/{rollout_id}")).await.done()
    }

    /// Sends an order such as `pause`, with the rollout's current stage and revision.
    pub(crate) async fn order_rollout(&self, rollout_id: &str, order: &str) -> Json {
        let now = self.get(&format!("/api/rollouts/{rollout_id}")).await;
        let (stage, revision) = if now.status == 200 {
            let now = now.done();
            (now["stage"].clone(), now["revision"].clone())
        } else {
            (json!(0), json!(1))
        };
        let given = json!({ "reason": "a test", "stage": stage, "revision": revision });
        self.post(&format!("/api/rollouts/{rollout_id}/{order}"), &given).await
    }

    /// The decisions of the engine, in order.
    pub(crate) async fn decisions(&self, rollout_id: &str) -> Vec<String> {
        let trace = self.get(&format!("/api/rollouts/{rollout_id}/trace")).await.done();
        let decisions = trace["items"].as_array().unwrap().iter();
        decisions.map(|decision| decision["decision"].as_str().unwrap().to_owned()).collect()
    }
}

/// A policy with one stage for all devices and that gate, with a short confirmation window and the default time-outs.
pub(crate) fn single_stage_policy(min_executed: u32, threshold_bp: u32) -> Value {
    json!({
        "stages": [{ "share_bp": 10_000, "min_executed": min_executed, "bake_s": 0 }],
        "gates": [{ "threshold_bp": threshold_bp, "min_executed": min_executed, "test": { "kind": "raw" } }],
        "confirm_window_s": 1,
    })
}

/// The manifest of an offer, read as a device reads it; none if there was no offer.
pub(crate) fn offered(next: &NextBeat) -> Option<Manifest> {
    let key = server_key().public_key();
    let keys = [(key.key_id(), key.verifier().unwrap())];
    next.firmware.as_ref().map(|offer| Manifest::open(offer.manifest.as_str(), &keys).unwrap())
}

impl Device {
    /// Beats as a device that runs that release.
    pub(crate) async fn beat_running(&mut self, release_counter: u64) -> NextBeat {
        let firmware = Firmware { version: Text::truncated("as the test says"), release_counter };
        let message = Heartbeat { firmware, ..self.next_heartbeat() };
        self.send_message(&message).await.answer()
    }

    /// Starts a new boot epoch.
    pub(crate) fn reboot(&mut self) {
        self.at = Sequence::new(self.at.boot_epoch + 1, 0);
    }

    /// Reports the step of its update; returns whether it may continue.
    pub(crate) async fn report_step(&mut self, release_id: &str, step: UpdateStep, class: Option<UpdateClass>) -> bool {
        let recorded: VerifiedAnswer<FirmwareStatusRecorded> = {
            let Sequence { boot_epoch, seq } = Sequence::new(self.at.boot_epoch, self.at.seq.get() + 1);
            self.at = Sequence { boot_epoch, seq };
            let message = FirmwareStatus {
                kind: Default::default(),
                device_id: self.id.clone(),
                boot_epoch,
                seq,
                sent_at: SENT_AT,
                release_id: release_id.parse().unwrap(),
                step,
                received_bytes: 0,
                class,
                detail: Text::default(),
            };
            self.send_message(&message).await
        };
        recorded.answer().go_on
    }
}
