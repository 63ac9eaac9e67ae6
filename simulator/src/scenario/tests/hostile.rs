//! Goal: no file makes the check panic, overflow the stack or take long, and every refusal can be shown.
//! Method: hand-written hostile files, and shipped files with random damage from a fixed seed.

use super::shipped::scenarios;
use super::{Permissive, VALID};
use crate::scenario::{FILE_BYTES_MAX, check, render_all};

/// Checks a file and shows what is wrong with it, in every form.
fn survives(bytes: &[u8]) -> String {
    match check("hostile.toml", bytes, &Permissive) {
        Ok(_) => String::new(),
        Err(wrong) => {
            assert!(!wrong.is_empty() && wrong.len() <= 51, "{} diagnostics", wrong.len());
            for diagnostic in &wrong {
                let json = diagnostic.to_json().to_string();
                assert!(!json.contains('\n') && !diagnostic.to_string().contains('\n'), "{json}");
                let shown = diagnostic.render(false);
                let widest = shown.lines().map(|line| line.chars().count()).max();
                assert!(widest < Some(600), "{widest:?}: {}", shown.chars().take(600).collect::<String>());
                assert!(!shown.contains(['\u{1b}', '\r', '\t', '\u{202e}']), "{shown}");
                assert!(diagnostic.render(true).len() > shown.len());
            }
            render_all(&wrong, false)
        }
    }
}

#[test]
fn a_file_above_one_mebibyte_is_refused_unread() {
    let shown = survives(&vec![b'#'; 10 * FILE_BYTES_MAX]);
    assert!(shown.starts_with("error: the file is larger than 1,024 KiB\n"), "{shown}");
    assert!(!survives(&vec![b'#'; FILE_BYTES_MAX]).contains("KiB"));
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    let full = |pattern: &str| format!("a = {}", pattern.repeat(FILE_BYTES_MAX / pattern.len() - 4));
    for pattern in ["[", "{a=", "[{a=[", "{a.b.c="] {
        let shown = survives(full(pattern).as_bytes());
        assert!(shown.contains("nested too deeply"), "{shown}");
    }
    for dotted in [format!("a{} = 1", ".a".repeat(100_000)), format!("[a{}]", ".a".repeat(100_000))] {
        assert!(survives(dotted.as_bytes()).contains("nested too deeply"));
    }
}

#[test]
fn a_file_of_one_thing_repeated_is_refused_in_bounded_space() {
    for pattern in [
        "=",
        "=\n",
        "\"",
        "\0",
        "\r",
        "\n",
        "[a]\n",
        "[[expect]]\n",
        "[[timeline]]\ndo=\"x\"\n",
        "a=1\n",
        "'''",
        "\u{301}",
        "[server]\n",
        "\u{feff}",
        "漢\n",
        "\t",
        "[[fleet.site]]\n",
        "[[adversary]]\n",
    ] {
        survives(pattern.repeat(200_000 / pattern.len()).as_bytes());
    }
    let long = "x".repeat(300_000);
    for key in ["name", "goal", "mode", "duration", "seed", "nmae"] {
        survives(format!("{key} = \"{long}\"").as_bytes());
        survives(format!("{long} = 1\n{key} = 1{}", "0".repeat(300_000)).as_bytes());
    }
    let keys = (0..20_000).map(|index| format!("k{index} = 1")).collect::<Vec<_>>().join("\n");
    let shown = survives(keys.as_bytes());
    assert!(shown.contains("19,955 more problems"), "{}", shown.lines().last().unwrap_or_default());
}

#[test]
fn every_beginning_of_a_scenario_is_handled() {
    for end in 0..VALID.len() {
        survives(&VALID.as_bytes()[..end]);
    }
}

/// SplitMix64: enough for repeatable damage to files.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).expect("below end")
    }
}

#[test]
fn random_damage_to_a_shipped_scenario_never_panics() {
    let pieces: Vec<&[u8]> = vec![
        b"\"",
        b"=",
        b"[",
        b"]",
        b"[[",
        b"{",
        b"}",
        b"\n",
        b"\r",
        b"\t",
        b"#",
        b".",
        b"-1",
        b"0",
        b"9999999999999999999",
        b"nan",
        b"\"0s\"",
        b"\"90d\"",
        b"true",
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"'''",
        b"\"\"\"",
        b"\\u0000",
        b"a.b",
        "漢é\u{202e}".as_bytes(),
        b"1.5",
        b"[]",
        b"{}",
    ];
    let mut draws = Draws(1);
    for (_, text) in scenarios() {
        for _ in 0..700 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=draws.below(4) {
                let start = draws.below(bytes.len());
                let end = (start + draws.below(12)).min(bytes.len());
                let piece = pieces[draws.below(pieces.len())];
                match draws.below(4) {
                    0 => drop(bytes.drain(start..end)),
                    1 => drop(bytes.splice(start..start, piece.iter().copied())),
                    2 => drop(bytes.splice(start..end, piece.iter().copied())),
                    _ => bytes[start] ^= 1 << draws.below(8),
                }
            }
            survives(&bytes);
        }
    }
}

#[test]
fn swapped_lines_of_a_shipped_scenario_never_panic() {
    let mut draws = Draws(2);
    for (_, text) in scenarios() {
        let sound: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        for _ in 0..300 {
            let mut lines = sound.clone();
            for _ in 0..=draws.below(3) {
                let (one, other) = (draws.below(lines.len()), draws.below(lines.len()));
                lines.swap(one, other);
            }
            survives(lines.join("\n").as_bytes());
        }
    }
}
