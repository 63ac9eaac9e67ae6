//! Goal: a release is rolled out as its policy says, and a rollout loses nothing by a crash.
//! Method: the real server over sockets; devices that report what the test needs; `kill -9` at the critical moments.

use crate::support::{Device, NO_LIMITS, Server, eventually, offered, single_stage_policy, start_server, world};
use ks_protocol::message::{UpdateClass, UpdateStep};
use serde_json::{Value, json};

/// The release that the devices of these tests run at first: see the heartbeats of [`crate::support::Device`].
const BEFORE: u64 = 17;
/// The release that they are updated to.
const NEXT: u64 = 18;

async fn until_offered(device: &mut Device) {
    eventually("the release is offered", async || offered(&device.beat_running(BEFORE).await).is_some()).await;
}

/// From the offer to the boot into the new release.
async fn install_update(device: &mut Device) {
    until_offered(device).await;
    assert!(device.report_step("fw-18", UpdateStep::Downloading, None).await);
    assert!(device.report_step("fw-18", UpdateStep::Installing, None).await);
    assert!(device.report_step("fw-18", UpdateStep::Rebooting, None).await);
    device.reboot();
}

async fn until_confirmed(server: &Server, device: &mut Device, rollout_id: &str) {
    let path = format!("/api/rollouts/{rollout_id}/updates?state=CONFIRMED");
    eventually("the update is confirmed", async || {
        device.beat_running(NEXT).await;
        let confirmed = server.get(&path).await.done();
        confirmed["items"].as_array().unwrap().iter().any(|update| update["device_id"] == device.id.as_str())
    })
    .await;
}

async fn until_status(server: &Server, rollout_id: &str, status: &str) {
    eventually(status, async || server.rollout(rollout_id).await["status"] == status).await;
}

/// Goal: the whole path of one device: offered, reported by the device, confirmed by its heartbeats alone; then the rollout is
/// complete.
/// Method: every step as a device takes it; the manifest is verified as a device does.
#[tokio::test]
async fn a_device_is_offered_the_release_and_confirmed_by_its_heartbeats() {
    let server = start_server(&NO_LIMITS);
    let mut device = server.registered("KS-1").await;
    assert!(device.beat_running(BEFORE).await.firmware.is_none());
    let sha256 = server.released("fw-18", NEXT, b"an image").await;
    let created = server.roll_out("spring", "fw-18", single_stage_policy(1, 50)).await.done();
    assert_eq!(created["plan"]["targets"], 1);
    until_offered(&mut device).await;
    let manifest = offered(&device.beat_running(BEFORE).await).unwrap();
    assert_eq!((manifest.release_counter, manifest.sha256.to_string(), manifest.size_bytes), (NEXT, sha256, 8));
    install_update(&mut device).await;
    assert!(device.report_step("fw-18", UpdateStep::Succeeded, None).await);
    assert!(device.beat_running(NEXT).await.firmware.is_none(), "a device that runs the release gets no offer");
    until_confirmed(&server, &mut device, "spring").await;
    until_status(&server, "spring", "COMPLETED").await;
    assert_eq!(server.decisions("spring").await, ["created", "completed"]);
    let audit = server.get("/api/audit?action=rollout.").await.done();
    assert_eq!(audit["items"].as_array().unwrap().len(), 2, "{audit}");
    assert_eq!(server.metric("ks_rollout_decisions_total{what=\"completed\"}").await, Some(1.0));
}

/// Goal: a failed gate ends the rollout immediately, and devices that are still downloading are stopped by their next answer and
/// by a command.
/// Method: four devices; one fails, one has only begun.
#[tokio::test]
async fn a_failed_gate_aborts_and_stops_downloads() {
    let server = start_server(&NO_LIMITS);
    let mut fleet = server.fleet("KS", 4).await;
    for device in &mut fleet {
        device.beat_running(BEFORE).await;
    }
    server.released("fw-18", NEXT, b"an image").await;
    server.roll_out("spring", "fw-18", single_stage_policy(4, 2_000)).await.done();
    let [failing, downloading, waiting, ..] = &mut fleet[..] else { panic!() };
    for device in [&mut *failing, &mut *downloading, &mut *waiting] {
        until_offered(device).await;
    }
    assert!(downloading.report_step("fw-18", UpdateStep::Downloading, None).await);
    failing.report_step("fw-18", UpdateStep::Failed, Some(UpdateClass::InstallFailed)).await;
    until_status(&server, "spring", "ABORTED").await;
    assert!(waiting.beat_running(BEFORE).await.firmware.is_none(), "an aborted rollout makes no further offers");
    let next = downloading.beat_running(BEFORE).await;
    assert!(next.firmware.is_none());
    assert_eq!(next.commands.as_slice()[0].kind.as_str(), "halt_updates");
    assert!(
        !downloading.report_step("fw-18", UpdateStep::Installing, None).await
            || server.rollout("spring").await["open"] == true
    );
    let halted = server.get("/api/rollouts/spring/updates?state=HALTED").await.done();
    assert_eq!(
        halted["items"].as_array().unwrap().len(),
        2,
        "the waiting device, and the one that was never offered it: {halted}"
    );
    let trace = server.get("/api/rollouts/spring/trace").await.done();
    let aborted = &trace["items"][1];
    assert_eq!((&aborted["decision"], &aborted["actor"]), (&"aborted".into(), &"rollout-engine".into()));
    assert_eq!((&aborted["gates"][0]["failed"], &aborted["gates"][0]["verdict"]), (&1.into(), &"FAIL".into()));
}

/// Goal: the status says what a rollout waits for and which devices to look at; once it is complete, how long it is watched; and as long as it
/// is, it can be aborted. The API and the command line say the same.
/// Method: two devices, of which one fails under a gate that tolerates it; then the watch.
#[tokio::test]
async fn a_status_says_what_a_rollout_waits_for_and_that_it_is_watched() {
    let server = world(&NO_LIMITS).start();
    let mut fleet = server.fleet("KS", 2).await;
    for device in &mut fleet {
        device.beat_running(BEFORE).await;
    }
    server.released("fw-18", NEXT, b"an image").await;
    let mut policy = single_stage_policy(2, 6_000);
    policy["watch_s"] = json!(3_600);
    server.roll_out("spring", "fw-18", policy).await.done();
    let [failing, updating] = &mut fleet[..] else { panic!() };
    until_offered(failing).await;
    failing.report_step("fw-18", UpdateStep::Failed, Some(UpdateClass::InstallFailed)).await;
    until_offered(updating).await;
    let status = server.get("/api/rollouts/spring/status").await.done();
    let progress = &status["progress"];
    assert_eq!((&progress["executed"], &progress["executed_needed"]), (&json!(1), &json!(2)), "{status}");
    assert_eq!(progress["gates"][0]["clean_to_pass"], 1, "1 of 2 is 50 %, 60 % are tolerated");
    assert_eq!(progress["next"]["what"], "COMPLETED");
    assert_eq!(progress["waits_for"][0], "1 more outcome of stage 1: 1 of 2 that it needs");
    assert_eq!(status["look_at"]["failed"][0]["device_id"], failing.id.as_str());
    assert_eq!(status["look_at"]["waiting"][0]["device_id"], updating.id.as_str());
    assert_eq!(status["last_decision"]["decision"], "created");
    let shown = server.run(&["rollout", "status", "spring"]).stdout;
    for said in ["waits for  1 more outcome of stage 1", "stage 1 of 1 (100 %)", "install_failed", "if nothing fails"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    install_update(updating).await;
    until_confirmed(&server, updating, "spring").await;
    until_status(&server, "spring", "COMPLETED").await;
    let status = server.get("/api/rollouts/spring/status").await.done();
    assert_eq!(status["progress"]["next"]["what"], "WATCHED", "{status}");
    assert_eq!((&status["rollout"]["open"], &status["rollout"]["late_failures"]), (&json!(true), &json!(0)));
    assert!(server.run(&["rollout", "status", "spring"]).stdout.contains("since completion 0 devices failed"));
    // It comes back with the old firmware: 2 of 2 have failed.
    updating.reboot();
    updating.beat_running(BEFORE).await;
    eventually("it is reported", async || {
        let decisions = server.decisions("spring").await;
        ["alert", "late"].iter().all(|what| decisions.iter().any(|decided| decided == what))
    })
    .await;
    assert_eq!(server.rollout("spring").await["late_failures"], 1);
    assert_eq!(server.metric("ks_rollout_decisions_total{what=\"late\"}").await, Some(1.0));
    assert_eq!(server.metric("ks_rollout_decisions_total{what=\"alert\"}").await, Some(1.0));
    let aborted = server.run(&["rollout", "abort", "spring", "--reason", "it comes back with the old one"]);
    assert!(aborted.stdout.contains("ABORTED"), "{aborted:?}");
}

/// Goal: an abort stops a download in progress: the answer to the device's next status says so.
/// Method: an operator aborts while one device downloads.
#[tokio::test]
async fn an_abort_stops_the_download_at_the_next_status() {
    let server = start_server(&NO_LIMITS);
    let mut device = server.registered("KS-1").await;
    device.beat_running(BEFORE).await;
    server.released("fw-18", NEXT, b"an image").await;
    server.roll_out("spring", "fw-18", single_stage_policy(1, 50)).await.done();
    until_offered(&mut device).await;
    assert!(device.report_step("fw-18", UpdateStep::Downloading, None).await);
    server.order_rollout("spring", "abort").await.done();
    assert!(!device.report_step("fw-18", UpdateStep::Downloading, None).await);
    device.report_step("fw-18", UpdateStep::Halted, None).await;
    assert!(device.beat_running(BEFORE).await.firmware.is_none());
    eventually("the rollout is closed", async || server.rollout("spring").await["open"] == false).await;
    server.order_rollout("spring", "resume").await.problem(409);
    // The device never executed the release: it is free for the next rollout of the same release.
    server.roll_out("summer", "fw-18", single_stage_policy(1, 50)).await.done();
    until_offered(&mut device).await;
}

/// Goal: pause holds offers back, resume lets them continue; a stage that needs an approval waits for one.
/// Method: two stages, the first with an approval; every order at the right time and at a wrong one.
#[tokio::test]
async fn operators_pause_resume_and_approve() {
    let server = start_server(&NO_LIMITS);
    let mut fleet = server.fleet("KS", 10).await;
    for device in &mut fleet {
        device.beat_running(BEFORE).await;
    }
    server.released("fw-18", NEXT, b"an image").await;
    let mut policy = single_stage_policy(1, 50);
    policy["stages"] = json!([
        { "share_bp": 1_000, "min_executed": 1, "bake_s": 0, "approval": "manual" },
        { "share_bp": 10_000, "min_executed": 1, "bake_s": 0 },
    ]);
    let created = server.roll_out("spring", "fw-18", policy).await.done();
    let first = created["plan"]["first_devices"][0].as_str().unwrap().to_owned();
    server.order_rollout("spring", "pause").await.done();
    server.order_rollout("spring", "pause").await.problem(409);
    let at = fleet.iter().position(|device| device.id.as_str() == first).unwrap();
    assert!(fleet[at].beat_running(BEFORE).await.firmware.is_none(), "paused");
    server.order_rollout("spring", "resume").await.done();
    install_update(&mut fleet[at]).await;
    until_confirmed(&server, &mut fleet[at], "spring").await;
    until_status(&server, "spring", "WAITING").await;
    for (number, device) in fleet.iter_mut().enumerate().filter(|(number, _)| *number != at) {
        assert!(device.beat_running(BEFORE).await.firmware.is_none(), "device {number} belongs to the next stage");
    }
    let waiting = server.rollout("spring").await;
    let approval = json!({ "reason": "reviewed", "stage": 0, "revision": waiting["revision"] });
    let approve = async |about: &serde_json::Value| server.post("/api/rollouts/spring/approve", about).await;
    let stale = json!({ "reason": "x", "stage": 0, "revision": waiting["revision"].as_u64().unwrap() - 1 });
    let refused = approve(&stale).await.problem(409);
    let detail = refused["detail"].as_str().unwrap();
    let sent = format!("refers to `stage` {} and `revision` {}", stale["stage"], stale["revision"]);
    assert!(detail.contains(&sent), "exactly as in the body: {detail}");
    approve(&json!({ "reason": "x", "stage": 1, "revision": waiting["revision"] })).await.problem(409);
    approve(&json!({ "reason": "x" })).await.problem(400);
    assert_eq!(server.rollout("spring").await["revision"], waiting["revision"], "a refused request changes nothing");
    approve(&approval).await.done();
    approve(&approval).await.done(); // a double click, or a lost answer
    let next = usize::from(at == 0);
    until_offered(&mut fleet[next]).await;
    let expected = ["created", "paused", "resumed", "waiting", "approved", "promoted"];
    assert_eq!(server.decisions("spring").await, expected);
    approve(&approval).await.done(); // however late it is sent
    assert_eq!(server.decisions("spring").await, expected, "it was carried out once");
    server.order_rollout("spring", "approve").await.problem(409);
    server.post("/api/rollouts/spring/pause", &json!({ "reason": "x", "stage": 1 })).await.problem(400);
    server.post("/api/rollouts/spring/abort", &json!({ "reason": "x", "roll_back": true })).await.problem(409);
    server.order_rollout("winter", "pause").await.problem(404);
}

/// Goal: a rollout continues exactly where it was, whenever the server is killed.
/// Method: a fleet updates while the server is killed between any two of its steps; no device is offered the release twice or
/// skipped, and the trace is the same as without the kills.
#[tokio::test]
async fn a_rollout_continues_after_kill_9_at_any_moment() {
    let mut server = start_server(&NO_LIMITS);
    let mut fleet = server.fleet("KS", 6).await;
    for device in &mut fleet {
        device.beat_running(BEFORE).await;
    }
    server.released("fw-18", NEXT, b"an image").await;
    server.roll_out("spring", "fw-18", single_stage_policy(6, 50)).await.done();
    for number in 0..fleet.len() {
        for step in 0..5 {
            let device = &mut fleet[number];
            match step {
                0 => until_offered(device).await,
                1 => assert!(device.report_step("fw-18", UpdateStep::Downloading, None).await),
                2 => assert!(device.report_step("fw-18", UpdateStep::Installing, None).await),
                3 => {
                    device.reboot();
                    device.beat_running(NEXT).await;
                }
                _ => until_confirmed(&server, device, "spring").await,
            }
            if step == number % 5 || step == 4 {
                let before = server.rollout("spring").await;
                server.kill_9();
                server.start_again();
                for device in &mut fleet {
                    device.moves_to(&server, crate::support::HOME);
                }
                let after = server.rollout("spring").await;
                assert_eq!(after["updates"], before["updates"], "device {number} after step {step}");
            }
        }
    }
    until_status(&server, "spring", "COMPLETED").await;
    assert_eq!(server.decisions("spring").await, ["created", "completed"]);
    assert_eq!(server.rollout("spring").await["updates"], json!({ "CONFIRMED": 6 }));
}

/// Goal: an abort survives a crash: it was answered, so it is on disk.
/// Method: abort, kill, start; then a rollout to another device, whose offer shows that the engine has evaluated. The first device
/// is offered nothing before and after it.
#[tokio::test]
async fn an_answered_abort_survives_kill_9() {
    let mut server = start_server(&NO_LIMITS);
    let mut device = server.registered("KS-1").await;
    device.beat_running(BEFORE).await;
    server.released("fw-18", NEXT, b"an image").await;
    server.roll_out("spring", "fw-18", single_stage_policy(1, 50)).await.done();
    until_offered(&mut device).await;
    server.order_rollout("spring", "abort").await.done();
    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    assert!(device.beat_running(BEFORE).await.firmware.is_none());
    let mut other = server.registered("KS-2").await;
    other.beat_running(BEFORE).await;
    let request = json!({
        "rollout_id": "summer", "release_id": "fw-18", "which": { "device_ids": ["KS-2"] }, "policy": single_stage_policy(1, 50),
        "reason": "a test",
    });
    server.post("/api/rollouts", &request).await.done();
    until_offered(&mut other).await;
    assert!(device.beat_running(BEFORE).await.firmware.is_none());
    assert_eq!(server.rollout("spring").await["status"], "ABORTED");
}

/// Goal: a revoked release is no longer offered from the answer to the revocation on, and its rollouts end.
/// Method: revoke it while it is offered.
#[tokio::test]
async fn a_revoked_release_is_not_offered() {
    let server = start_server(&NO_LIMITS);
    let mut device = server.registered("KS-1").await;
    device.beat_running(BEFORE).await;
    server.released("fw-18", NEXT, b"an image").await;
    server.roll_out("spring", "fw-18", single_stage_policy(1, 50)).await.done();
    until_offered(&mut device).await;
    server.post("/api/releases/fw-18/revoke", &json!({ "reason": "a test" })).await.done();
    assert!(device.beat_running(BEFORE).await.firmware.is_none());
    assert_eq!(server.rollout("spring").await["status"], "ABORTED");
    server.roll_out("summer", "fw-18", single_stage_policy(1, 50)).await.problem(409);
    server.post("/api/releases/fw-18/activate", &json!({ "reason": "a test" })).await.problem(409);
}

/// Goal: an invalid request for a rollout is refused when it is made, with the reason; a valid one is answered with its
/// statistical power.
/// Method: invalid policies of every kind, through the API.
#[tokio::test]
async fn invalid_rollouts_are_refused_and_valid_ones_have_a_power() {
    let server = start_server(&NO_LIMITS);
    let mut fleet = server.fleet("KS", 60).await;
    for device in &mut fleet {
        device.beat_running(BEFORE).await;
    }
    server.released("fw-18", NEXT, b"an image").await;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut policy = single_stage_policy(50, 50);
        change(&mut policy);
        policy
    };
    for (reported, change) in [
        ("gates: expected 1", (&|policy: &mut Value| policy["gates"] = json!([])) as &dyn Fn(&mut Value)),
        ("could never be promoted", &|policy| policy["stages"][0]["min_executed"] = json!(61)),
        ("too few to prove anything", &|policy| {
            policy["gates"][0]["test"] = json!({ "kind": "clopper_pearson", "confidence_bp": 9_500 });
        }),
        ("three heartbeat intervals", &|policy| policy["lost_after_s"] = json!(100)),
        ("roll_back_to", &|policy| policy["roll_back_to"] = json!("fw-99")),
        ("unknown field", &|policy| policy["gates"][0]["treshold_bp"] = json!(1)),
    ] {
        let refused = server.roll_out("spring", "fw-18", changed(change)).await.problem(400);
        assert!(refused["detail"].as_str().unwrap().contains(reported), "{reported}: {refused}");
    }
    server.roll_out("spring", "fw-99", single_stage_policy(50, 50)).await.problem(404);
    let created = server.roll_out("spring", "fw-18", single_stage_policy(50, 50)).await.done();
    let power = &created["plan"]["power"][0];
    assert_eq!(power["executed"], 60);
    assert!(power["sentence"].as_str().unwrap().contains("598 clean devices"), "{power}");
    let row = &power["rows"][0];
    let none_of_60 = json!({ "at_least_bp": 9_417, "mixed_bp": 9_417, "at_most_bp": 9_417 }); // 0.999^60
    assert_eq!((&row["bug_bp"], &row["stages"]), (&json!(10), &json!([none_of_60])), "{power}");
    let together = &created["plan"]["together"][0]["stages"];
    assert_eq!(together, &json!([{ "at_least_bp": 9_417, "at_most_bp": 9_417 }]));
    server.roll_out("spring", "fw-18", single_stage_policy(50, 50)).await.problem(409); // the id is used
    server.roll_out("summer", "fw-18", single_stage_policy(50, 50)).await.problem(400); // all of them are in a rollout
    // A firmware key would make devices reject manifests that the server's key signed: not during a rollout.
    let key =
        json!({ "public_key": ks_protocol::key::PrivateKey::from_seed(&[7; 32]).public_key(), "reason": "a test" });
    let refused = server.post("/api/keys/firmware", &key).await.problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("spring"), "{refused}");
    server.order_rollout("spring", "abort").await.done();
    server.post("/api/keys/firmware", &key).await.done();
    server.roll_out("autumn", "fw-18", single_stage_policy(50, 50)).await.problem(409); // no device would trust it now
    assert_eq!(server.decisions("spring").await, ["created", "aborted"]);
    assert_eq!(server.metric("ks_rollout_decisions_total{what=\"aborted\"}").await, Some(1.0));
}

/// Goal: a plan can be rehearsed before anything happens.
/// Method: the scenario of a plan, which has the fleet's mix, the release and the policy; no rollout is created.
#[tokio::test]
async fn a_plan_is_written_as_a_scenario() {
    let server = start_server(&NO_LIMITS);
    for device in &mut server.fleet("KS", 20).await {
        device.beat_running(BEFORE).await;
    }
    server.released("fw-18", NEXT, b"an image").await;
    let spec = |release: &str| {
        let policy = single_stage_policy(10, 50);
        json!({ "rollout_id": "spring", "release_id": release, "which": { "all": true }, "policy": policy, "reason": "a test" })
    };
    let written = server.post("/api/rollouts/plan/rehearsal", &spec("fw-18")).await;
    assert_eq!((written.status, written.content_type.as_str()), (200, "application/toml"), "{}", written.body);
    let scenario: toml::Table = written.body.as_str().unwrap().parse().unwrap();
    assert_eq!(scenario["fleet"]["devices"].as_integer(), Some(20));
    assert_eq!(scenario["policy"][0]["stages"][0]["min_executed"].as_integer(), Some(10));
    assert_eq!(scenario["firmware"][0]["version"].as_str(), Some("fw-18"));
    server.post("/api/rollouts/plan/rehearsal", &spec("fw-99")).await.problem(404);
    let rollouts = server.get("/api/rollouts").await.done();
    assert_eq!(rollouts["items"], json!([]));
}

/// Goal: a release signed offline is accepted, and no other key's signature once the keyset has a firmware key.
/// Method: the command line from the key to the rollout, next to the running server.
#[tokio::test]
async fn a_release_signed_offline_is_rolled_out_by_the_command_line() {
    let server = world(&NO_LIMITS).start();
    let mut device = server.registered("KS-1").await;
    device.beat_running(BEFORE).await;
    server.write("ks.img", b"an image");
    let ok = |arguments: &[&str]| {
        let ran = server.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    };
    let made = ok(&["keys", "generate", "--out", "firmware.pem"]);
    let public = made.trim_end().rsplit(' ').next().unwrap().to_owned();
    let sign = [
        "firmware",
        "sign",
        "--key",
        "firmware.pem",
        "--artifact",
        "ks.img",
        "--release-id",
        "fw-18",
        "--version",
        "18",
        "--counter",
        "18",
        "--model",
        "KS-100",
    ];
    server.write("fw-18.toon", ok(&sign));
    let add = ["firmware", "add", "--artifact", "ks.img", "--manifest", "fw-18.toon"];
    let unknown_key = server.run(&add);
    assert!(unknown_key.code == Some(2) && unknown_key.stderr.contains("add-firmware-key"), "{unknown_key:?}");
    ok(&["keys", "add-firmware-key", "--public-key", &public]);
    assert!(ok(&add).contains("DRAFT"));
    assert!(ok(&["firmware", "stage", "fw-18"]).contains("STAGED"));
    assert!(ok(&["firmware", "activate", "fw-18"]).contains("ACTIVE"));
    server.write("p.toml", "stages = [{ share_bp = 10000, min_executed = 1, bake_s = 0 }]\ngates = [{ threshold_bp = 50, min_executed = 1, test = { kind = \"raw\" } }]\n");
    let arguments =
        |verb| ["rollout", verb, "--rollout", "spring", "--release", "fw-18", "--policy", "p.toml", "--all"];
    assert!(ok(&arguments("plan")).contains("1 device in"));
    assert!(ok(&["rollout", "list"]).lines().count() == 1, "a plan does nothing");
    assert!(ok(&arguments("create")).contains("598 clean devices"));
    assert!(ok(&["rollout", "watch", "spring", "--once"]).contains("RUNNING stage 1 of 1"));
    let paused = "ks_rollout_decisions_total{what=\"paused\"}";
    assert_eq!(
        server.metric(paused).await,
        Some(0.0),
        "exported before the first, so that an alert notices the first one"
    );
    assert!(ok(&["rollout", "pause", "spring", "--reason", "lunch"]).contains("PAUSED"));
    assert_eq!(server.metric(paused).await, Some(1.0), "orders of another process are counted");
    assert!(server.log().contains("lunch"), "and logged: {}", server.log());
    assert!(ok(&["rollout", "trace", "spring"]).contains("lunch"));
    assert!(ok(&["rollout", "watch", "spring", "--once"]).contains("PAUSED stage 1 of 1 (100 %), revision 2"));
    let resume = |revision| server.run(&["rollout", "resume", "spring", "--stage", "1", "--revision", revision]);
    assert_eq!(server.run(&["rollout", "resume", "spring"]).code, Some(2), "the stage and the revision are required");
    assert!(resume("1").stderr.contains("in stage 1 at revision 2: check it again"));
    assert!(resume("2").stdout.contains("RUNNING") && resume("2").stdout.contains("revision 3"), "a retry is answered");
    let approve = server.run(&["rollout", "approve", "spring", "--stage", "1", "--revision", "3"]);
    assert!(approve.code == Some(2) && approve.stderr.contains("expected WAITING"), "{approve:?}");
    assert!(ok(&["rollout", "abort", "spring"]).contains("ABORTED"));
    assert_eq!(server.run(&["rollout", "watch", "summer"]).code, Some(2));
}

/// Goal: the server's own signature never covers a release that was signed with a leaked key.
/// Method: signed offline and kept as a draft; then its key is revoked, so that the server's key may sign firmware again.
#[tokio::test]
async fn a_draft_signed_with_a_revoked_key_is_not_signed_again() {
    let server = world(&NO_LIMITS).start();
    server.write("ks.img", b"an image");
    let ok = |arguments: &[&str]| {
        let ran = server.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    };
    let made = ok(&["keys", "generate", "--out", "firmware.pem"]);
    let key_id = made.split("private key ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    ok(&["keys", "add-firmware-key", "--public-key", made.trim_end().rsplit(' ').next().unwrap()]);
    let sign = "firmware sign --key firmware.pem --artifact ks.img --release-id fw-18 --version 18 --counter 18 --model KS-100";
    server.write("fw-18.toon", ok(&sign.split(' ').collect::<Vec<_>>()));
    ok(&["firmware", "add", "--artifact", "ks.img", "--manifest", "fw-18.toon"]);
    ok(&["keys", "revoke", &key_id]);
    let staged = server.run(&["firmware", "stage", "fw-18"]);
    assert!(staged.code == Some(2) && staged.stderr.contains("FW_SIG is not by a key"), "{staged:?}");
    assert_eq!(server.get("/api/releases/fw-18").await.done()["state"], "DRAFT");
    let own = "firmware add --artifact ks.img --release-id fw-19 --version 19 --counter 19 --model KS-100";
    ok(&own.split(' ').collect::<Vec<_>>());
    assert!(ok(&["firmware", "stage", "fw-19"]).contains("STAGED"), "it signs a draft that it made itself");
}
