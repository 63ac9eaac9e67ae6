//! Each form of the grammar, one taken and refused at a time.

use super::{read, tree};

#[derive(Debug, serde::Deserialize, PartialEq)]
struct Message {
    a: u8,
    word: Word,
    inner: Inner,
    rows: Vec<Inner>,
    text: String,
    degrees: f64,
    #[serde(default)]
    maybe: Option<i16>,
}

#[derive(Debug, serde::Deserialize, PartialEq)]
struct Inner {
    x: u8,
    y: String,
}

#[derive(Debug, serde::Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Word {
    In,
    Out,
}

const GOOD: [&str; 6] =
    ["a: 1", "word: in", "inner:\n  x: 2\n  y: z", "rows[1]{x,y}:\n  3,w", "text: t", "degrees: 1.5"];

/// The good message with one field written in another way.
fn with(field: &str) -> Result<Message, String> {
    let name = field.split([':', '[']).next().unwrap();
    let others = GOOD.iter().filter(|good| good.split([':', '[']).next() != Some(name));
    let text = others.copied().chain([field]).collect::<Vec<_>>().join("\n");
    read::<Message>(&text).map_err(|error| error.to_string())
}

#[test]
fn every_documented_form_of_a_field_is_taken() {
    let good = with("a: 1").unwrap();
    for field in GOOD {
        assert_eq!(with(field).as_ref(), Ok(&good), "{field}");
    }
    assert_eq!(with("text: \"t\"").as_ref(), Ok(&good), "quotes are allowed where they need not be");
    assert_eq!(with("word: \"in\"").as_ref(), Ok(&good));
    assert_eq!(with("inner:\n  y: z\n  later: 1\n  x: 2").as_ref(), Ok(&good), "any order, and more of it");
    assert_eq!(with("rows[1]{later,y,x}:\n  5,w,3").as_ref(), Ok(&good));
    assert_eq!(with("maybe: -7").unwrap().maybe, Some(-7));
    for empty in ["rows: []", "rows[0]:", "rows[0]{x,y}:"] {
        assert_eq!(with(empty).unwrap().rows, [], "{empty}");
    }
}

#[test]
fn nothing_is_taken_in_the_place_of_something_else() {
    for (field, expected) in [
        ("inner[2]: 2,z", "inner: line 7: expected an object with fields, got a list"),
        ("inner[1]{x,y}:\n  2,z", "inner: line 7: expected an object with fields, got a list"),
        ("inner: z", "inner: line 7: expected an object with fields, got `z`"),
        ("inner: []", "inner: line 7: expected an object with fields, got a list"),
        ("inner:", "inner: line 7: the field `x` is missing"),
        ("rows[2]: 3,w", "rows[0]: line 8: expected an object with fields, got `3`"),
        ("rows:\n  x: 3\n  y: w", "rows: line 8: expected a list, got an object"),
        ("rows[1]{x}:\n  3", "rows[0]: line 9: the field `y` is missing"),
        ("word:\n  in: \"\"", "word: line 9: expected one of `in`, `out`, got an object"),
        ("word[1]: in", "word: line 9: expected one of `in`, `out`, got a list"),
        ("word: 1", "word: line 9: expected one of `in`, `out`, got `1`"),
        ("word: up", "word: line 9: expected one of `in`, `out`, got `up`"),
        ("a: \"1\"", "a: line 9: expected a whole number, got `1` in quotes"),
        ("a: 256", "a: line 9: expected a whole number, got `256`"),
        ("a: 1.0", "a: line 9: expected a whole number, got `1.0`"),
        ("text: 2.0", "text: line 9: expected a text, got `2.0` without quotes"),
        ("text: true", "text: line 9: expected a text, got `true` without quotes"),
        ("text[1]: t", "text: line 9: expected a text, got a list"),
        ("degrees: \"1.5\"", "degrees: line 9: expected a number, got `1.5` in quotes"),
        ("degrees: warm", "degrees: line 9: expected a number, got `warm`"),
    ] {
        let got = with(field).unwrap_err();
        assert_eq!(got, expected, "{field}");
    }
    let huge = with(&format!("degrees: {}", "9".repeat(400))).unwrap_err();
    assert!(huge.starts_with("degrees: line 9: expected a number, got `999"), "{huge}");
    for root in ["[2]: 1,2", "[1]{a,word}:\n  1,in", "- a: 1", "1", "x", "\"x\"", "[]"] {
        assert!(read::<Inner>(root).is_err(), "{root}");
    }
}

#[test]
fn what_nobody_knows_has_the_documented_forms_too() {
    for good in [
        "y",
        "\"y\"",
        "-1",
        "0.50",
        "true",
        "[]",
        "a b",
        "a-b#",
        "1e",
        "5.",
        ".5",
        "\u{e9}",
        "\"\\u0041\\\"\\n\"",
        "\u{7f}",
    ] {
        assert!(with(&format!("later: {good}")).is_ok(), "{good}");
        let row = format!("later[1]{{p,q}}:\n  1,{good}");
        assert!(good == "[]" || with(&row).is_ok(), "{row}");
    }
    for bad in [
        "",
        " y",
        "y ",
        "\"y",
        "\"\\q\"",
        "\"\\ud800\"",
        "\"\\u12\"",
        "\"y\"z",
        "\"y\" ",
        "null",
        "{a",
        "[1",
        "a\"b",
        "x:y",
        "a\\b",
        "a]",
        "a}",
        "-y",
        "-",
        "#y",
        "\u{feff}y",
        "-0",
        "-0.0",
        "+1",
        "05",
        "1e5",
        "1E-5",
        "-01",
        "a\tb",
        "a\u{1}b",
        "\"a\u{1}b\"",
        "a\r",
        "\"a\"\r",
    ] {
        for field in [
            format!("later: {bad}"),
            format!("later:\n  inner: {bad}"),
            format!("later[2]: 1,{bad}"),
            format!("later[1]{{p,q}}:\n  {bad},1"),
        ] {
            let error = with(&field).unwrap_err();
            assert!(error.starts_with("later") && error.contains(": line "), "{field:?}: {error}");
        }
    }
    assert!(with("later: a,b").is_err());
}

#[test]
fn lines_that_nobody_knows_have_the_documented_forms_too() {
    for bad in [
        "later",
        "later:x",
        "later:  x",
        "later: \"x\": 1",
        "later :",
        "\"later\": 1",
        "la.ter: 1",
        "1later: 1",
        "_later: 1",
        "\tlater: 1",
        "",
        "# later",
        "- later",
        "later:\n\n  x: 1",
        "later:\n  x: 1\n\n",
        "later: 1\n  x: 1",
        "later:\n    x: 1",
        "later:\n x: 1",
        "  later: 1",
        "later: 1\nlater: 1",
        "later:\n  x: 1\n  x: 1",
        "later:\r",
        "later:\n  # x",
        "later[1]",
        "later[1]:",
        "later[01]: 1",
        "later[+1]: 1",
        "later[#1]: 1",
        "later[]: 1",
        "later[2]: 1",
        "later[1]: 1,2",
        "later[2]: 1, 2",
        "later[1|]: 1",
        "later[1]{}:\n  1",
        "later[1]{p,p}:\n  1,1",
        "later[1]{p q}:\n  1",
        "later[1]{\"p\"}:\n  1",
        "later[1]{p, q}:\n  1,1",
        "later[1]{p,q}:\n  1",
        "later[1]{p}:\n  1,1",
        "later[1]{p}:",
        "later[1]{p}:\n  1\n  1",
        "later[1]{p}: 1",
        "later[1]:\n  - x: 1",
        "later[1]{p}:\n  1\n    2",
    ] {
        assert!(with(bad).unwrap_err().contains("line "), "{bad:?}");
    }
}

#[test]
fn nesting_and_columns_have_bounds() {
    let nested = |levels: usize| {
        let line = |level| format!("{}l{level}:\n", " ".repeat(2 * level));
        let lines: String = (0..levels).map(line).collect();
        read::<serde_json::Value>(&format!("{lines}{}x: 1", " ".repeat(2 * levels)))
    };
    assert!(nested(tree::DEPTH_MAX).is_ok());
    let error = nested(tree::DEPTH_MAX + 1).unwrap_err().to_string();
    assert_eq!(error, "l0.l1.l2.l3.l4: line 5: expected at most 4 levels of indentation");
    let table = |columns: usize| {
        let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
        read::<serde_json::Value>(&format!("x[0]{{{}}}:", names.join(",")))
    };
    assert!(table(tree::COLUMNS_MAX).is_ok());
    assert_eq!(table(tree::COLUMNS_MAX + 1).unwrap_err().to_string(), "x: line 1: expected at most 32 columns");
}

/// Many fields, cells and rows within the bound of a document are read in a time that grows with their number.
#[test]
fn the_largest_documents_of_each_form_are_read() {
    let bytes = crate::document::DOCUMENT_BYTES_MAX;
    let fields: String = (0..).map(|n| format!("f{n}: 1\n")).take(bytes / 10).collect();
    let list = format!("x[{}]: {}", bytes / 2 - 10, vec!["1"; bytes / 2 - 10].join(","));
    let rows = format!("x[{}]{{p}}:{}", bytes / 4 - 10, "\n  1".repeat(bytes / 4 - 10));
    for text in [fields.trim_end(), &list, &rows] {
        assert!(read::<serde_json::Value>(text).is_ok(), "{}", &text[..40]);
    }
    let quotes = format!("x: {}", "\"".repeat(bytes - 10));
    assert!(read::<serde_json::Value>(&quotes).is_err());
}
