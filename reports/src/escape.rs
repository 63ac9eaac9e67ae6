//! Escapes text of a run folder for display: names, notes and URLs come from files and are never markup.

/// For HTML text and quoted attributes.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(printable(other)),
        }
    }
    out
}

/// For XML text and quoted attributes: as HTML, with line breaks kept in attributes too.
pub(crate) fn xml(text: &str) -> String {
    html(text).replace('\n', "&#10;").replace('\r', "&#13;").replace('\t', "&#9;")
}

/// For a line or a table cell of Markdown: one line, nothing bold, linked or broken out of its cell.
pub(crate) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' => out.extend(['\\', sign]),
            '\n' | '\r' | '\t' => out.push(' '),
            other => out.push(printable(other)),
        }
    }
    out
}

/// For a picture: one line of at most `chars_max` characters.
pub(crate) fn label(text: &str, chars_max: usize) -> String {
    let line: String = text.chars().map(|sign| if sign.is_whitespace() { ' ' } else { printable(sign) }).collect();
    if line.chars().count() <= chars_max {
        return line;
    }
    line.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// The replacement character for what neither XML nor HTML may hold, or what turns the direction of a line.
fn printable(sign: char) -> char {
    match sign {
        '\n' | '\r' | '\t' => sign,
        '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        sign if sign.is_control() => '\u{fffd}',
        sign => sign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_stays_text() {
        assert_eq!(
            html("<script>alert('x')</script>&\""),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"
        );
        assert_eq!(xml("]]>\n\u{0}"), "]]&gt;&#10;\u{fffd}");
        assert_eq!(markdown("a|b\n<b>*x*"), "a\\|b &lt;b&gt;\\*x\\*");
    }

    #[test]
    fn labels_are_one_short_line() {
        assert_eq!(label("two\nlines", 20), "two lines");
        assert_eq!(label("a very long name", 7), "a very…");
    }
}
