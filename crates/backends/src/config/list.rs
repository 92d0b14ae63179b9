//! Lists in one line of text: YAML's flow form `["a", b]` (Flink since 1.19) and the older `a;b`.

use highwater_types::{Error, Result};

use super::yaml;

/// Reads either form. Blanks around elements and empty elements of the older form fall away.
pub(super) fn parse(text: &str) -> Result<Vec<String>> {
    if text.trim_start().starts_with('[') {
        return yaml::flow_list(text);
    }
    split_quoted(text)
}

/// Writes the YAML form.
pub(super) fn print(elements: &[impl AsRef<str>]) -> String {
    let elements: Vec<_> = elements.iter().map(|element| scalar(element.as_ref())).collect();
    format!("[{}]", elements.join(", "))
}

/// One element of a flow list: plain if no reader can mistake it, else in double quotes.
pub(super) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:-".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(plain)
        && !text.ends_with(':')
    {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Splits at semicolons outside of quotes (Flink's `StructuredOptionsSplitter`): an element may stand in single or
/// double quotes, and a doubled quote inside stands for one.
fn split_quoted(text: &str) -> Result<Vec<String>> {
    let mut elements = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (element, after) = match rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => quoted(rest, quote)?,
            None => {
                let (element, after) = rest.split_once(';').unwrap_or((rest, ""));
                (element.trim().to_owned(), after)
            }
        };
        if !element.is_empty() {
            elements.push(element);
        }
        rest = after.trim_start();
    }
    Ok(elements)
}

/// Takes a quoted element and the semicolon after it from the front.
fn quoted(text: &str, quote: char) -> Result<(String, &str)> {
    let mut element = String::new();
    let mut rest = text.get(quote.len_utf8()..).unwrap_or("");
    loop {
        let Some((part, after)) = rest.split_once(quote) else {
            return Err(Error::configuration("a quote is not closed").with("found", text));
        };
        element.push_str(part);
        match after.strip_prefix(quote) {
            Some(after) => {
                element.push(quote);
                rest = after;
            }
            None => {
                rest = after.trim_start();
                break;
            }
        }
    }
    match rest.strip_prefix(';') {
        Some(rest) => Ok((element, rest)),
        None if rest.is_empty() => Ok((element, "")),
        None => Err(Error::configuration("a semicolon must follow a closing quote").with("found", text)),
    }
}
