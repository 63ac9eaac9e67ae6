//! Rewrites serde's error messages in plain words: what was received and what was expected.

/// A serde error message, of any format, without the names of this program's types.
pub fn plain(words: &str) -> String {
    let what = words.strip_prefix("invalid type: ").or_else(|| words.strip_prefix("invalid value: "));
    if let Some((got, expected)) = what.and_then(|what| what.rsplit_once(", expected ")) {
        return format!("expected {}, got {}", expected_in_words(expected), got_in_words(got));
    }
    if let Some((got, expected)) =
        words.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        return format!("expected {expected}, got {got}");
    }
    if let Some(field) = words.strip_prefix("missing field ") {
        return format!("the field {field} is missing");
    }
    if let Some(length) = words.strip_prefix("invalid length ") {
        return format!("expected other fields than these {}", length.split(',').next().unwrap_or_default());
    }
    words.to_owned()
}

/// What serde expected, without the names of this program's types.
pub(crate) fn expected_in_words(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a string" => "a text",
        "a map" => "an object with fields",
        "boolean" | "a boolean" => "true or false",
        "number" | "f32" | "f64" => "a number",
        "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        _ if expected.starts_with("integer") => "a whole number",
        _ if expected.contains("struct ") || expected.contains("tagged") => "an object with fields",
        _ if expected.contains("enum ") || expected.contains("variant") => "one of the words of this field",
        expected => expected,
    }
}

fn got_in_words(got: &str) -> String {
    match got {
        "map" | "empty object" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "null" => "null".to_owned(),
        _ => {
            let value =
                ["integer ", "floating point ", "boolean ", "string "].iter().find_map(|kind| got.strip_prefix(kind));
            value.unwrap_or(got).to_owned()
        }
    }
}
