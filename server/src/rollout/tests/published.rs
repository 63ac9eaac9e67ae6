//! Goal: the chances in the tables of docs/rollouts.md are those of the gates. Method: each is computed again, row by row.

use crate::rollout::{
    duration::INSTALL_S,
    gate::Test,
    policy::{Gate, tests::playbook},
    power::clean_needed,
    walk::{Order, promoted},
};

const PAGE: &str = include_str!("../../../../docs/rollouts.md");
/// Bugs of 0.1, 0.5, 1 and 2 %.
const RATES: [f64; 4] = [0.001, 0.005, 0.01, 0.02];
const PROOF: Test = Test::ClopperPearson { confidence_bp: 9_500 };
const WALD: Test = Test::Sprt { p0_bp: 50, p1_bp: 200, alpha_bp: 500, beta_bp: 500 };
/// Worst, mixed and best, in the order of the page.
const ORDERS: [Order; 3] = [Order::FailuresFirst { in_flight_max: 500 }, Order::Mixed, Order::FailuresLast];

/// The cells of the table whose header begins so.
fn rows(header: &str) -> Vec<Vec<String>> {
    let (_, rest) = PAGE.split_once(header).unwrap();
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn gate(test: Test, threshold_bp: u16, min_executed: u32) -> Gate {
    Gate { threshold_bp, min_executed, test, ..playbook().gates.remove(0) }
}

fn chance(gate: &Gate, devices: u32, failing: f64, order: Order) -> f64 {
    *promoted(gate, &[devices], failing, order).last().unwrap()
}

/// `5 / 22 / 65 %` shows three chances, `65 %` one or three that are alike: each as exactly as it is printed, from a number that is
/// rounded to a basis point before.
fn assert_shows(cell: &str, chances: &[f64], row: &[String]) {
    let printed: Vec<&str> = cell.trim_end_matches(" %").split(" / ").collect();
    for (nth, chance) in chances.iter().enumerate() {
        let number = if printed.len() == 1 { printed[0] } else { printed[nth] };
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let tolerance = 0.5 / 10_f64.powi(i32::try_from(decimals).unwrap()) + 0.005_1;
        let exact = chance * 100.0;
        assert!((exact - number.parse::<f64>().unwrap()).abs() <= tolerance, "{cell} shows {exact}: {row:?}");
    }
}

fn number(cell: &str) -> u32 {
    cell.replace(',', "").parse().unwrap()
}

#[test]
fn the_effect_of_min_executed_is_as_published() {
    let rows = rows("| `min_executed` | failures tolerated from the start |");
    assert_eq!(rows.len(), 4);
    for row in &rows {
        for min_executed in row[0].split(" or ").map(number) {
            assert_eq!(number(&row[1]), 50 * min_executed / 10_000, "{row:?}");
            let gate = gate(Test::Raw, 50, min_executed);
            for (cell, rate) in row[2..].iter().zip(RATES) {
                assert_shows(cell, &ORDERS.map(|order| chance(&gate, 601, rate, order)), row);
            }
        }
    }
}

#[test]
fn the_strength_of_a_first_stage_is_as_published() {
    let rows = rows("| fleet | share of the first stage |");
    assert_eq!(rows.len(), 12);
    for row in &rows {
        let devices = number(&row[2]);
        let min_executed = (devices * 9).div_ceil(10);
        assert_eq!(number(&row[3]), 50 * min_executed / 10_000, "{row:?}");
        let gate = gate(Test::Raw, 50, min_executed);
        assert_shows(&row[4], &[1.0 - chance(&gate, devices, 0.001, ORDERS[0])], row);
        for (cell, rate) in row[5..].iter().zip([0.01, 0.02, 0.05, 0.1]) {
            assert_shows(cell, &[chance(&gate, devices, rate, Order::FailuresLast)], row);
        }
    }
}

#[test]
fn the_cost_of_a_proof_is_as_published() {
    let rows = rows("| gate | clean devices needed |");
    let of = [
        (PROOF, 50, 601),
        (PROOF, 50, 1_001),
        (PROOF, 50, 2_002),
        (PROOF, 100, 301),
        (PROOF, 200, 201),
        (WALD, 50, 250),
        (WALD, 50, 601),
        (WALD, 50, 2_002),
    ];
    assert_eq!(rows.len(), of.len());
    for (row, (test, threshold_bp, devices)) in rows.iter().zip(of) {
        assert!(row[0].replace(',', "").contains(&format!("{devices} devices")), "{row:?}");
        assert_eq!(Some(number(&row[1])), clean_needed(test, threshold_bp, 1, 10_000), "{row:?}");
        let gate = gate(test, threshold_bp, 1);
        for (cell, rate) in row[2..].iter().zip(RATES) {
            assert_shows(cell, &ORDERS.map(|order| chance(&gate, devices, rate, order)), row);
        }
    }
}

/// Goal: the advice by size of fleet follows from the same numbers. Method: `min_executed` is nine tenths of the devices of the stage; what
/// it says a stage finds, or does not find, is computed.
#[test]
fn the_advice_for_fleets_of_a_size_is_as_published() {
    let rows = rows("| fleet | first stage | gates | and |");
    let per_cent = |of: u32, share: u32| of * share / 100;
    let min_executed = |row: &[String]| -> Vec<u32> {
        let (_, counts) = row[2].split_once("`min_executed` ").unwrap();
        counts.split(';').next().unwrap().split(" to ").map(number).collect()
    };
    let of = [(1_000, &[30][..], 1), (5_000, &[10][..], 2), (20_000, &[3, 5][..], 3)];
    for (fleet, shares, row) in of {
        let row = &rows[row];
        assert!(number(&row[0].replace(|of: char| !of.is_ascii_digit(), "")) == fleet, "{row:?}");
        let stages: Vec<u32> = shares.iter().map(|share| per_cent(fleet, *share)).collect();
        let shown: Vec<String> = shares.iter().map(ToString::to_string).collect();
        assert!(row[1].starts_with(&format!("{} %", shown.join(" to "))), "{row:?}");
        assert_eq!(min_executed(row), stages.iter().map(|stage| per_cent(*stage, 90)).collect::<Vec<_>>(), "{row:?}");
    }
    let passes =
        |devices: u32, bug: f64| chance(&gate(Test::Raw, 50, per_cent(devices, 90)), devices, bug, Order::FailuresLast);
    assert!(rows[1][1].contains("finds a 2 % bug") && passes(300, 0.02) < 0.02);
    assert!(rows[0][1].contains("below 40 devices only gross faults show"));
    assert!(passes(39, 0.05) > 0.1 && passes(39, 0.1) < 0.02, "a fault of 5 % may pass, one of 10 % does not");
}

/// Goal: the sentences about the plan say what the plan shows. Method: the plan itself is compared with what the program prints
/// (`simulator/tests/end_to_end/docs/`); what is derived from it is derived again, or is in a line of it.
#[test]
fn the_sentences_about_the_plan_say_what_it_shows() {
    let page = PAGE.replace('\n', " ");
    let shown = |sentence: &str| assert!(page.contains(sentence), "not in the page: {sentence}");
    let (_, rest) = PAGE.split_once("firmware that breaks 2 % of devices is promoted ").unwrap();
    let through: f64 = rest.split(' ').next().unwrap().parse().unwrap();
    shown(&format!(
        "firmware that breaks 2 % passes the canary once in {:.0} times at most",
        (10.0 / through).round() * 10.0
    ));
    // 120 of 1,800 devices at a time: offered, installed, and confirmed.
    let rounds = 1_800 / (4 * 30);
    let each_s = INSTALL_S + 60 / 2 + 900;
    shown(&format!("take {rounds} rounds of {:.1} minutes", each_s as f64 / 60.0));
    shown(&format!("after {} of them 1,500 have an outcome", 1_500_u32.div_ceil(120)));
    for (sentence, line) in [
        (
            "is stopped once in ten times at most",
            "0.10 %                     99 %     90 / 97 / 99 %     90 / 97 / 99 %",
        ),
        ("passes the gate by model four times in five", "KS-200   all stages  1000     100 %   99.9 %  98 %    79 %"),
        (
            "a bug of 5 % passes the canary 12 times in a hundred",
            "KS-200   stage 1     151      100 %   99.9 %  98 %    81 %  12 %",
        ),
        ("ends more than four good releases of ten", "601 devices | 598 | 55 %"),
        ("a bug at `p1` is promoted less often than `beta` says (0.7 % of 601 devices, not 5 %)", "0.1 / 0.7 / 0.7 %"),
    ] {
        shown(sentence);
        assert!(PAGE.contains(line), "no longer in the page, so look at `{sentence}`: {line}");
    }
    for (least, tolerated) in
        [(199, "none below 200"), (200, "one from 200 on"), (400, "two from 400"), (600, "three from 600")]
    {
        let word = ["none", "one", "two", "three"][50 * least / 10_000];
        assert!(tolerated.starts_with(word), "{tolerated}");
        shown(tolerated);
    }
}
