//! Goal: what we write is TOON as its specification says, and what we read is a part of it, with the same meaning.
//! Method: the specification's published fixtures, as the encoder's own package brings them; our reader must refuse each decode
//! case that the specification refuses, and give its JSON value for each other one that it takes; each encode case must give
//! its text.

use ks_protocol::document::decode;
use serde_json::Value;
use serde_toon::to_string;
use std::{path::PathBuf, process::Command};

/// The forms that documents of ours take: objects, tables and lists of primitives, quoted and plain values.
const WHAT_WE_SEND: &[&str] = &[
    "objects",
    "primitives",
    "numbers",
    "whitespace",
    "arrays-primitive",
    "arrays-tabular",
    "validation-errors",
    "indentation-errors",
    "blank-lines",
    "delimiters",
];

/// Where cargo keeps the source of the codec, fixtures included.
fn fixtures() -> PathBuf {
    // Of this platform only: what others need was never fetched.
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let output = Command::new(std::env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            host,
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let codec = packages.iter().find(|package| package["name"] == "serde_toon").expect("serde_toon is a dependency");
    PathBuf::from(codec["manifest_path"].as_str().expect("a path")).with_file_name("tests/spec/fixtures")
}

/// One of the specification's cases. A decode case's text is its `input`, an encode case's its `expected`.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    /// Read as the codec's own value, which keeps the order of fields.
    input: serde_toon::Value,
    #[serde(default)]
    expected: Value,
    #[serde(default, rename = "shouldError")]
    should_error: bool,
    #[serde(default)]
    options: Value,
}

#[derive(serde::Deserialize)]
struct Fixture {
    tests: Vec<Case>,
}

fn cases(kind: &str) -> Vec<Case> {
    let folder = fixtures().join(kind);
    let texts =
        WHAT_WE_SEND.iter().filter_map(|file| std::fs::read_to_string(folder.join(format!("{file}.json"))).ok());
    texts.flat_map(|text| serde_json::from_str::<Fixture>(&text).expect("a fixture is JSON").tests).collect()
}

/// Equality of JSON values, where -1000 and -1000.0 are one number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && same(left.1, right.1))
        }
        _ => left == right,
    }
}

#[test]
fn what_is_read_is_what_the_fixtures_say() {
    let (mut ran, mut taken) = (0, 0);
    for Case { name, input, expected, should_error, options } in cases("decode") {
        if options["strict"] == false || options.get("indentSize").is_some() || options.get("expandPaths").is_some() {
            continue;
        }
        if let Ok(read) = decode::<Value>(input.as_str().expect("text")) {
            assert!(!should_error, "{name} must be refused, got {read}");
            assert!(same(&read, &expected), "{name}: {read} is not {expected}");
            taken += 1;
        }
        ran += 1;
    }
    assert!(ran > 150 && taken > 40, "{taken} of {ran} decode fixtures were taken");
}

#[test]
fn encoding_gives_the_text_of_the_fixtures() {
    let mut ran = 0;
    for Case { name, input, expected, options, .. } in cases("encode") {
        if options.is_null() {
            assert_eq!(to_string(&input).expect(&name), expected.as_str().expect("text"), "{name}");
            ran += 1;
        }
    }
    assert!(ran > 60, "only {ran} encode fixtures were found");
}
