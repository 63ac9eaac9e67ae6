//! Goal: the chances in the tables of docs/rollouts.md are those of the gates. Method: each is computed again, row by row.

use crate::rollout::{
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
