//! Generates a scenario from a seed: a fleet, faults, crashes, adversaries, orders, rollouts. Written as a scenario file, so that
//! a finding can be read, kept and rehearsed again.

use std::fmt::Write as _;

use rand_chacha::ChaCha8Rng;

use crate::{
    scenario::{self, ChurnKind},
    scenario_settings::ScenarioSettings,
    seed,
};

/// Approximate limit of heartbeats in a scenario: many small scenarios find more than a few large ones.
const BEATS_MAX: u64 = 4_000;
/// Most attempts of a flood.
const ATTEMPTS_MAX: u64 = 4_000;

/// The scenario of a seed. The same seed gives the same text; a later version of this program may give another, so the text
/// itself is kept.
pub(super) fn scenario(root_seed: u64) -> String {
    let mut random = Random(seed::stream(root_seed, "explore", "scenario"));
    let interval_s = random.of(&[10, 30, 60, 300]);
    let devices = random.between(2, 40);
    let beats_min = 40; // of each device, so that it meets every fault, and a fault-free time after it
    let duration_s = interval_s * random.between(beats_min, (BEATS_MAX / devices).clamp(beats_min, 400)) + 3_600;
    let mut generated = Generated { random, text: String::new(), devices, interval_s, duration_s };
    generated.top(root_seed);
    generated.fleet();
    generated.swaps(root_seed);
    generated.server();
    generated.limits(root_seed);
    generated.other_values(root_seed);
    generated.adversaries();
    generated.flood();
    generated.guesser(root_seed);
    generated.reactions(root_seed);
    let steps = generated.rollouts() + &generated.steps();
    generated.ceiling(root_seed);
    anywhere_if_nowhere(generated.text + &steps + "\n[[expect]]\nmetric = \"ledger.lost\"\nequals = 0\n")
}

/// A small fleet may have no device of a model or at a site, which is refused. Then nothing is only there.
fn anywhere_if_nowhere(text: String) -> String {
    if scenario::check("explored.toml", text.as_bytes(), &ScenarioSettings).is_ok() {
        return text;
    }
    text.split_inclusive('\n').filter(|line| !line.starts_with("only_")).collect()
}

struct Random(ChaCha8Rng);

impl Random {
    /// A number from `least` to `most`.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + seed::below(&mut self.0, most.saturating_sub(least) + 1)
    }

    /// One of them.
    fn of<T: Copy + Default>(&mut self, choices: &[T]) -> T {
        let most = u64::try_from(choices.len()).unwrap_or(0);
        let index = usize::try_from(seed::below(&mut self.0, most)).unwrap_or(0);
        choices.get(index).copied().unwrap_or_default()
    }

    /// A number from `least` to `most`, which are at least 1, small ones as often as large ones: of each power of two as many.
    fn magnitude(&mut self, least: u64, most: u64) -> u64 {
        let power = self.between(least.ilog2().into(), most.ilog2().into());
        let from = 1_u64.checked_shl(u32::try_from(power).unwrap_or(0)).unwrap_or(1);
        self.between(from, from.saturating_mul(2) - 1).clamp(least, most)
    }

    /// True with a probability of `cases` per cent.
    fn in_100(&mut self, cases: u64) -> bool {
        seed::below(&mut self.0, 100) < cases
    }
}

struct Generated {
    random: Random,
    text: String,
    devices: u64,
    interval_s: u64,
    duration_s: u64,
}

impl Generated {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}"); // writing to a String cannot fail
    }

    fn top(&mut self, root_seed: u64) {
        let duration_s = self.duration_s;
        self.line(&format!("name = \"explored-{root_seed}\""));
        self.line("goal = \"Every invariant holds under random faults.\"");
        self.line("mode = \"rehearse\"");
        self.line(&format!("seed = {}\nduration = \"{duration_s}s\"", root_seed >> 1));
        let ramp_s = self.random.between(0, self.interval_s);
        self.line(&format!("ramp = \"{ramp_s}s\""));
    }

    fn fleet(&mut self) {
        let (devices, interval_s) = (self.devices, self.interval_s);
        self.line(&format!("\n[fleet]\ndevices = {devices}\nid_prefix = \"EX\""));
        if self.random.in_100(50) {
            self.line(&format!("heartbeat_interval = \"{interval_s}s\""));
        }
        if self.random.in_100(50) {
            self.line("otrt = true");
        } else if self.random.in_100(6) {
            self.line("otrt_shared = true");
        }
        let timeout_s = self.random.between(1, 10);
        self.line(&format!("answer_timeout = \"{timeout_s}s\""));
        for (part, names) in [("model", ["KS-100", "KS-200"]), ("site", ["north", "south"])] {
            for name in names {
                let share = self.random.between(1, 5);
                self.line(&format!("\n[[fleet.{part}]]\nname = \"{name}\"\nshare = {share}"));
            }
        }
        self.churn();
    }

    /// Background failures, often: a scenario lasts hours, and the rates are those of a day.
    fn churn(&mut self) {
        for kind in ChurnKind::ALL.into_iter().filter(|kind| *kind != ChurnKind::Swapped) {
            if !self.random.in_100(15) {
                continue;
            }
            let rate_bp = self.random.of(&[1_000, 5_000, 10_000]);
            let lasts_s = self.random.of(&[1, 60, 600, 3_600]);
            let loss_bp = self.random.of(&[1_000, 5_000, 10_000]);
            let hours = self.random.of(&["00-01", "01-02", "22-03"]);
            let site = self.random.of(&["", "only_site = \"north\"\n", "only_site = \"south\"\n"]);
            let keys = match kind {
                ChurnKind::Unplugged | ChurnKind::Moved => format!("per_day_bp = {rate_bp}\nlasts = \"{lasts_s}s\""),
                ChurnKind::FlakyLink => {
                    format!("per_day_bp = {rate_bp}\nlasts = \"{lasts_s}s\"\nloss_bp = {loss_bp}")
                }
                ChurnKind::Removed | ChurnKind::Swapped => format!("per_day_bp = {}", rate_bp / 10),
                ChurnKind::SiteCloses => format!("{site}hours = \"{hours}\""),
            };
            self.line(&format!("\n[[fleet.churn]]\nkind = \"{}\"\n{keys}", kind.as_str()));
        }
    }

    /// Devices that others replace, before it is known whether they are broken, or long after. By a stream of its own.
    fn swaps(&mut self, root_seed: u64) {
        let mut random = Random(seed::stream(root_seed, "explore", "swaps"));
        if random.in_100(15) {
            let (rate_bp, lasts_s) = (random.of(&[1_000, 5_000, 10_000]), random.of(&[1, 600, 7_200]));
            let keys = format!("per_day_bp = {rate_bp}\nlasts = \"{lasts_s}s\"");
            self.line(&format!("\n[[fleet.churn]]\nkind = \"{}\"\n{keys}", ChurnKind::Swapped.as_str()));
        }
    }

    fn server(&mut self) {
        let interval_ms = self.interval_s * 1_000;
        self.line(&format!("\n[server]\nHEARTBEAT_INTERVAL_MS = {interval_ms}"));
        // A flood of few attempts uses up a budget of few failures a minute for as long as the flood lasts.
        let settings: [(&str, &[u64]); 8] = [
            ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", &[6, 120]),
            ("RATE_LIMIT_ADDRESS_FAILURES_BURST", &[5, 120]),
            ("COMMIT_GROUP_MAX", &[1, 2, 8, 256]),
            ("STORE_QUEUE_MAX", &[16, 64, 8_192]),
            ("RATE_LIMIT_DEVICE_BURST", &[2, 10, 30]),
            ("RATE_LIMIT_DEVICE_PER_MIN", &[30, 120]),
            ("ARTIFACT_DOWNLOADS_MAX", &[1, 4, 64]),
            ("ARTIFACT_BYTES_PER_S_MAX", &[20_000, 50_000_000]),
        ];
        for (name, values) in settings {
            if self.random.in_100(40) {
                let value = self.random.of(values);
                self.line(&format!("{name} = {value}"));
            }
        }
    }

    /// Limits besides those above: none so tight that an honest device starves, or in a mode without consequences. By a stream of its
    /// own, so that the rest of a seed's scenario does not depend on them.
    fn limits(&mut self, root_seed: u64) {
        let mut random = Random(seed::stream(root_seed, "explore", "limits"));
        let values: [(&str, &[u64]); 10] = [
            ("RATE_LIMIT_SITE_FAILURES_PER_MIN", &[7, 60, 1_200]),
            ("RATE_LIMIT_SITE_FAILURES_BURST", &[5, 100]),
            ("RATE_LIMIT_EXPENSIVE_FAILURES_PER_MIN", &[7, 600, 120_000]),
            ("RATE_LIMIT_EXPENSIVE_FAILURES_BURST", &[5, 2_000]),
            ("RATE_LIMIT_ADDRESS_REGISTRATIONS_PER_MIN", &[60, 600]),
            ("RATE_LIMIT_ADDRESS_REGISTRATIONS_BURST", &[5, 2_000]),
            ("RATE_LIMIT_REGISTRATIONS_PER_MIN", &[70, 6_000]),
            ("RATE_LIMIT_REGISTRATIONS_BURST", &[5, 10_000]),
            ("RATE_LIMIT_DEVICE_KEY_CHANGES_BURST", &[1, 3]),
            ("RATE_LIMIT_SITE_PREFIX_IPV4", &[16, 30]),
        ];
        for (name, values) in values {
            if random.in_100(25) {
                let value = random.of(values);
                self.line(&format!("{name} = {value}"));
            }
        }
        let enforced = ["SITE_FAILURES", "ADDRESS_REGISTRATIONS", "REGISTRATIONS", "DEVICE_STORED_BYTES"];
        for name in enforced {
            if random.in_100(40) {
                let mode = random.of(&["enforce", "enforce", "off"]);
                self.line(&format!("RATE_LIMIT_{name}_MODE = \"{mode}\""));
            }
        }
        let others =
            ["ADDRESS_FAILURES", "EXPENSIVE_FAILURES", "NEW_DEVICE_FAILURES", "DEVICE_PAIR_FAILURES", "DEVICE"];
        for name in others {
            if random.in_100(10) {
                let mode = random.of(&["shadow", "off"]);
                self.line(&format!("RATE_LIMIT_{name}_MODE = \"{mode}\""));
            }
        }
        // Used up only by so many punches, and the device then waits for a minute for each.
        if random.in_100(25) {
            self.line("RATE_LIMIT_DEVICE_PUNCHES_PER_DAY = 1440\nRATE_LIMIT_DEVICE_PUNCHES_MODE = \"shadow\"");
        }
    }

    /// Values of limits between those above, any of them, where none is set yet: what is right at the ends may be wrong between them. By a
    /// stream of its own.
    fn other_values(&mut self, root_seed: u64) {
        let mut random = Random(seed::stream(root_seed, "explore", "values"));
        let ranges = [
            ("ADDRESS_FAILURES_PER_MIN", 6, 1_200),
            ("ADDRESS_FAILURES_BURST", 5, 1_000),
            ("SITE_FAILURES_PER_MIN", 7, 1_200),
            ("SITE_FAILURES_BURST", 5, 1_200),
            ("EXPENSIVE_FAILURES_PER_MIN", 7, 120_000),
            ("EXPENSIVE_FAILURES_BURST", 5, 2_000),
            ("NEW_DEVICE_FAILURES_PER_MIN", 60, 6_000),
            ("NEW_DEVICE_FAILURES_BURST", 1, 200),
            ("DEVICE_PAIR_FAILURES_PER_MIN", 20, 120),
            ("DEVICE_PAIR_FAILURES_BURST", 1, 60),
            ("ADDRESS_REGISTRATIONS_PER_MIN", 60, 600),
            ("ADDRESS_REGISTRATIONS_BURST", 5, 2_000),
            ("REGISTRATIONS_PER_MIN", 60, 6_000),
            ("REGISTRATIONS_BURST", 5, 10_000),
            ("DEVICE_PER_MIN", 30, 600),
            ("DEVICE_BURST", 2, 60),
            ("DEVICE_KEY_CHANGES_PER_MIN", 1, 60),
            ("SITE_PREFIX_IPV4", 8, 32),
        ];
        for (name, least, most) in ranges {
            let (is_drawn, value) = (random.in_100(12), random.magnitude(least, most));
            if is_drawn && !self.text.contains(&format!("\nRATE_LIMIT_{name} = ")) {
                self.line(&format!("RATE_LIMIT_{name} = {value}"));
            }
        }
    }

    /// Who shares an address, and how devices react to refusals. By a stream of its own.
    fn reactions(&mut self, root_seed: u64) {
        let mut random = Random(seed::stream(root_seed, "explore", "reactions"));
        let addresses = random.of(&["", "", "", "site", "site", "one"]);
        if !addresses.is_empty() {
            self.text = self.text.replacen("[fleet]\n", &format!("[fleet]\naddresses = \"{addresses}\"\n"), 1);
        }
        if !random.in_100(40) {
            return;
        }
        for number in 1..=random.between(1, 2) {
            let retry = random.of(&["obey", "jitter", "jitter:100ms", "jitter:45s", "ignore", "fixed:1s", "fixed:20s"]);
            let size = random.of(&["share = 1", "share = 3", "count = 1"]);
            self.line(&format!("\n[[fleet.cohort]]\nname = \"cohort-{number}\"\nretry = \"{retry}\"\n{size}"));
        }
    }

    fn adversaries(&mut self) {
        for kind in ["forger", "replayer", "unknown_device", "cloned_key", "tamperer"] {
            // A cloned key uses up its device's pairs, so it can legitimately starve the device.
            if self.random.in_100(if kind == "replayer" { 50 } else { 20 }) && kind != "cloned_key" {
                let (count, interval_s) = (self.random.between(1, 2), self.random.between(10, 120));
                self.line(&format!(
                    "\n[[adversary]]\nkind = \"{kind}\"\ncount = {count}\ninterval = \"{interval_s}s\""
                ));
            }
        }
    }

    /// Somebody who knows which pairs devices send next, so that signatures are checked although a budget is used up: a few attempts
    /// now and then, or many within minutes, which use up the budgets of devices' names. By a stream of its own.
    fn guesser(&mut self, root_seed: u64) {
        let mut random = Random(seed::stream(root_seed, "explore", "guesser"));
        if !random.in_100(20) {
            return;
        }
        let addresses = random.of(&["\"shared\"", "\"shared\"", "1", "1000"]);
        let victims = random.between(1, self.devices);
        let from_s = random.between(0, self.duration_s - 1);
        let (interval_ms, at_once, lasts_s) = if random.in_100(50) {
            (random.between(10_000, 120_000), 1, self.duration_s)
        } else {
            let (interval_ms, at_once) = (random.of(&[50, 200, 1_000]), random.of(&[1, 1, 8]));
            (interval_ms, at_once, random.between(1, 200).min(ATTEMPTS_MAX * interval_ms / 1_000 / at_once))
        };
        let until_s = (from_s + lasts_s.max(1)).min(self.duration_s);
        self.line(&format!(
            "\n[[adversary]]\nkind = \"pair_guesser\"\ncount = 1\naddresses = {addresses}\nvictims = {victims}\ninterval = \"{interval_ms}ms\"\nat_once = {at_once}\nfrom = \"{from_s}s\"\nuntil = \"{until_s}s\""
        ));
    }

    /// The ceiling on the requests of all devices, with a little more than what they send by schedule, so that it refuses what comes at
    /// once and nobody starves: not beside a device gone mad, which may use up all of it. By a stream of its own.
    fn ceiling(&mut self, root_seed: u64) {
        let mut random = Random(seed::stream(root_seed, "explore", "ceiling"));
        let mode = random.of(&["", "", "off", "shadow", "enforce", "enforce", "enforce"]);
        let uses_it_up = self.text.contains("faulty_device");
        if mode.is_empty() || (mode == "enforce" && uses_it_up) {
            return;
        }
        // One that is not registered yet tries again twice a minute.
        let sent_per_min = (self.devices * 60).div_ceil(self.interval_s) + self.devices * 2;
        let per_min = sent_per_min * random.of(&[1, 1, 3]) + random.of(&[6, 20, 60]);
        let burst = random.of(&[1, 3, 5, 10, 60, 1_000]);
        let settings = format!(
            "[server]\nRATE_LIMIT_ALL_REQUESTS_MODE = \"{mode}\"\nRATE_LIMIT_ALL_REQUESTS_PER_MIN = {per_min}\nRATE_LIMIT_ALL_REQUESTS_BURST = {burst}\n"
        );
        self.text = self.text.replacen("[server]\n", &settings, 1);
    }

    /// A flood of failing requests, from the fleet's own address or from many, that uses up budgets: either quickly, so that the
    /// shared budget of all addresses is empty, or for hours, so that a device that waits for its end starves.
    fn flood(&mut self) {
        if !self.random.in_100(40) {
            return;
        }
        let kind = self.random.of(&["forger", "unknown_device", "faulty_device"]);
        let addresses = self.random.of(&["\"shared\"", "\"shared\"", "1", "1000"]);
        let (count, interval_ms, lasts_ms) = if self.random.in_100(50) {
            (4, self.random.of(&[1, 1, 5]), 1_000)
        } else {
            let interval_ms = self.random.of(&[200, 1_000, 4_000]);
            (1, interval_ms, interval_ms * ATTEMPTS_MAX)
        };
        let from_s = self.random.between(0, self.duration_s - 1) * self.random.between(0, 1);
        let until_ms = (from_s * 1_000 + lasts_ms).min(self.duration_s * 1_000);
        self.line(&format!(
            "\n[[adversary]]\nkind = \"{kind}\"\ncount = {count}\naddresses = {addresses}\ninterval = \"{interval_ms}ms\"\nfrom = \"{from_s}s\"\nuntil = \"{until_ms}ms\""
        ));
    }

    /// Firmware, policies, and the steps that roll them out. Operators' orders may be refused without ending the run.
    fn rollouts(&mut self) -> String {
        let mut steps = String::new();
        if self.devices < 4 || self.random.in_100(30) {
            return steps;
        }
        let count = self.random.between(1, 2);
        let mut at_s = self.random.between(60, self.duration_s / 4);
        for number in 1..=count {
            self.firmware(number + 1);
            self.policy(number, count);
            let _ = writeln!(
                steps,
                "\n[[timeline]]\nat = \"{at_s}s\"\ndo = \"start_rollout\"\nfirmware = \"{}.0\"\npolicy = \"p{number}\"\nmay_fail = true",
                number + 1
            );
            for _ in 0..self.random.between(0, 3) {
                let order = self.random.of(&["pause", "resume", "approve", "approve", "abort", "abort_and_roll_back"]);
                let ordered_at_s = self.random.between(at_s, self.duration_s);
                let _ = writeln!(
                    steps,
                    "\n[[timeline]]\nat = \"{ordered_at_s}s\"\ndo = \"order_rollout\"\nrollout = \"rollout-{}.0\"\norder = \"{order}\"\nmay_fail = true",
                    number + 1
                );
            }
            if self.random.in_100(15) {
                let revoked_at_s = self.random.between(at_s, self.duration_s);
                let _ = writeln!(
                    steps,
                    "\n[[timeline]]\nat = \"{revoked_at_s}s\"\ndo = \"revoke_release\"\nfirmware = \"{}.0\"\nmay_fail = true",
                    number + 1
                );
            }
            at_s = self.random.between(at_s, self.duration_s / 2);
        }
        steps
    }

    fn firmware(&mut self, counter: u64) {
        let size_kib = self.random.of(&[8, 64, 200]);
        self.line(&format!("\n[[firmware]]\nversion = \"{counter}.0\"\ncounter = {counter}\nsize_kib = {size_kib}"));
        if self.random.in_100(30) {
            return self.faults();
        }
        let mut rest_bp = 10_000; // each device has one outcome
        for fault in ["install_fails_bp", "boot_fails_bp", "bricks_bp", "lies_bp"] {
            if self.random.in_100(25) {
                let share_bp = self.random.of(&[300, 1_000, 3_000]).min(rest_bp);
                rest_bp -= share_bp;
                self.line(&format!("{fault} = {share_bp}"));
            }
        }
    }

    /// Several faults, each for some devices.
    fn faults(&mut self) {
        for _ in 0..self.random.between(1, 3) {
            let fault = self.random.of(&["install_fails_bp", "boot_fails_bp", "bricks_bp", "lies_bp", "dies_bp"]);
            let share_bp = self.random.of(&[300, 1_000, 3_000]);
            let scope = self.random.of(&["", "uptime_max = \"1h\"", "hours = \"01-12\"", "from_version = \"1.0.0\""]);
            let place = self.random.of(&["", "", "only_model = \"KS-200\"\n", "only_site = \"north\"\n"]);
            self.line(&format!("[[firmware.fault]]\n{fault} = {share_bp}\n{place}{scope}"));
        }
    }

    fn policy(&mut self, number: u64, count: u64) {
        let first_bp = self.random.of(&[2_000, 5_000]);
        let bake_s = self.random.of(&[0, 60, 600]);
        let approval = self.random.of(&["auto", "auto", "manual"]);
        let in_flight_max = self.random.of(&[1, 5, 100]);
        let starts_per_min = self.random.of(&[1, 10, 1_000]);
        let confirm_window_s = self.random.of(&[1, 60, 900]);
        let lost_after_s = self.random.of(&[600, 1_800]).max(2 * self.interval_s);
        let threshold_bp = self.random.of(&[500, 2_000]);
        let test = self.random.of(&["{ kind = \"raw\" }", "{ kind = \"clopper_pearson\", confidence_bp = 6000 }"]);
        let action = self.random.of(&["pause", "abort", "abort"]);
        self.line(&format!(
            "\n[[policy]]\nname = \"p{number}\"\nin_flight_max = {in_flight_max}\nstarts_per_min = {starts_per_min}\nconfirm_window_s = {confirm_window_s}\nlost_after_s = {lost_after_s}\nprogress_timeout_s = {lost_after_s}"
        ));
        let watch_s = self.random.of(&[0, 0, 60, 3_600, 36_000]); // the longest outlasts most runs
        if watch_s > 0 {
            self.line(&format!("watch_s = {watch_s}"));
        }
        // The second release may be rolled back to the first, never the first to one that does not exist.
        if number == 1 && count == 2 {
            self.line("roll_back_to = \"fw-3.0\"");
        }
        self.line(&format!(
            "stages = [{{ share_bp = {first_bp}, min_executed = 1, bake_s = {bake_s}, approval = \"{approval}\" }}, {{ share_bp = 10000, min_executed = 1, bake_s = {bake_s} }}]\ngates = [{{ threshold_bp = {threshold_bp}, min_executed = 1, test = {test}, action = \"{action}\" }}]"
        ));
    }

    /// Other steps: most of them in the first two thirds, so that a fault-free time follows.
    fn steps(&mut self) -> String {
        let mut steps = String::new();
        let until_s = self.duration_s.saturating_sub(3_600).max(1);
        let mut revoked = 0;
        for _ in 0..self.random.between(2, 14) {
            let at_s = self.random.between(0, until_s);
            let length_s = self.random.of(&[1, 30, 120, 600, 1_800]);
            let share_bp = self.random.of(&[100, 1_000, 3_000]);
            let site = self.random.of(&["", "site = \"north\"\n", "site = \"south\"\n"]);
            let what = self.random.between(0, 16);
            let step = match what {
                0 if revoked < self.devices / 4 => {
                    revoked += 1;
                    "\"revoke\"\ndevices = 1\nmay_fail = true".to_owned()
                }
                0 | 1 => format!(
                    "\"send_command\"\nkind = \"{}\"\nmay_fail = true",
                    self.random.of(&["reboot", "fetch_logs", "fetch_logs", "rotate_key"])
                ),
                2 => format!("\"punch\"\nper_device = {}", self.random.between(1, 300)),
                3 | 4 => format!("\"outage\"\nfor = \"{length_s}s\"\n{site}half_open = {}", self.random.in_100(50)),
                5 => format!("\"loss\"\nfor = \"{length_s}s\"\nshare_bp = {share_bp}\nof = \"requests\""),
                6 => format!("\"loss\"\nfor = \"{length_s}s\"\nshare_bp = {share_bp}"),
                7 => format!("\"delay\"\nfor = \"{length_s}s\"\nlongest = \"{}s\"", self.random.between(1, 30)),
                8 | 9 => format!("\"duplicate\"\nfor = \"{length_s}s\"\nshare_bp = {}", share_bp * 3),
                10 => format!("\"disk_full\"\nfor = \"{length_s}s\""),
                11 => format!("\"disk_errors\"\nfor = \"{length_s}s\"\nshare_bp = {share_bp}"),
                12 => format!(
                    "\"disk_slow\"\nfor = \"{length_s}s\"\ncommit = \"{}ms\"",
                    self.random.of(&[20, 200, 2_000])
                ),
                13 if self.random.in_100(50) => {
                    format!(
                        "\"rotate_server_key\"\nstep = \"{}\"\nmay_fail = true",
                        self.random.of(&["announce", "activate", "retire"])
                    )
                }
                14 if self.random.in_100(50) => {
                    // None that contradicts the settings, whatever they are.
                    let limits = self.random.of(&[
                        "",
                        "[timeline.limits.device_requests]\nper_min = 60\nburst = 5",
                        "[timeline.limits.address_failures]\nmode = \"shadow\"",
                        "[timeline.limits.expensive_failures]\nmode = \"off\"",
                        "[timeline.limits.device_punches]\nper_day = 1440",
                    ]);
                    format!("\"apply_limits\"\nmay_fail = true\n{limits}")
                }
                _ => format!(
                    "\"restart_server\"\nfor = \"{}s\"\nmoment = \"{}\"",
                    self.random.of(&[0, 1, 60, 600]),
                    self.random.of(&["now", "before_commit", "after_commit", "after_commit"])
                ),
            };
            let _ = writeln!(steps, "\n[[timeline]]\nat = \"{at_s}s\"\ndo = {step}");
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a new step is generated too.
    #[test]
    fn every_step_is_generated() {
        let not_generated = ["revoke_server_key", "phase"]; // the first fails unless a key is announced, the second does nothing
        let texts: Vec<String> = (0..300).map(scenario).collect();
        for name in crate::timeline::KINDS.iter().map(|kind| kind.name) {
            let line = format!("do = \"{name}\"");
            assert_eq!(texts.iter().any(|text| text.contains(&line)), !not_generated.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_ceiling_and_who_guesses_pairs_are_generated() {
        let texts: Vec<String> = (0..100).map(scenario).collect();
        for part in [
            "ALL_REQUESTS_MODE = \"enforce\"",
            "ALL_REQUESTS_MODE = \"shadow\"",
            "kind = \"pair_guesser\"",
            "at_once = 8",
        ] {
            assert!(texts.iter().any(|text| text.contains(part)), "{part}");
        }
    }

    #[test]
    fn every_reaction_shared_addresses_and_values_between_are_generated() {
        let texts: Vec<String> = (0..300).map(scenario).collect();
        for part in [
            "retry = \"obey\"",
            "retry = \"jitter\"",
            "retry = \"jitter:45s\"",
            "retry = \"ignore\"",
            "retry = \"fixed:1s\"",
            "name = \"cohort-2\"",
            "addresses = \"site\"",
            "addresses = \"one\"",
            "RATE_LIMIT_DEVICE_PAIR_FAILURES_BURST",
        ] {
            assert!(texts.iter().any(|text| text.contains(part)), "{part}");
        }
        let bursts = texts.iter().filter_map(|text| text.split_once("RATE_LIMIT_DEVICE_BURST = ")?.1.lines().next());
        let bursts: std::collections::BTreeSet<&str> = bursts.collect();
        assert!(bursts.len() > 8, "{bursts:?}");
    }

    #[test]
    fn every_background_failure_is_generated() {
        let texts: Vec<String> = (0..100).map(scenario).collect();
        for kind in ChurnKind::ALL {
            assert!(texts.iter().any(|text| text.contains(&format!("kind = \"{}\"", kind.as_str()))), "{kind:?}");
        }
    }

    #[test]
    fn faults_of_a_model_and_of_a_site_are_generated_and_sites_close() {
        let texts: Vec<String> = (0..100).map(scenario).collect();
        for part in
            ["only_model = \"KS-200\"", "only_site = \"north\"\nhours", "kind = \"site_closes\"\nonly_site = \"south\""]
        {
            assert!(texts.iter().any(|text| text.contains(part)), "{part}");
        }
    }

    #[test]
    fn every_seed_gives_a_valid_and_repeatable_scenario() {
        // The second last generates every fault at its worst.
        for root_seed in (0..300).chain([1_056_553_464, u64::MAX]) {
            let text = scenario(root_seed);
            assert_eq!(text, scenario(root_seed));
            let checked =
                crate::scenario::check("explored.toml", text.as_bytes(), &crate::scenario_settings::ScenarioSettings);
            assert!(checked.is_ok(), "{root_seed}: {:?}\n{text}", checked.err());
        }
    }
}
