//! `flink-conf.yaml`: not YAML, but lines `key: value` (Flink up to 1.20).

use std::collections::BTreeMap;

use highwater_types::{Error, Result};

use crate::options;

/// Reads lines `key: value`; the last of several equal keys wins, `#` begins a comment wherever it stands.
///
/// As in Flink a line that is not such a pair is skipped with a warning; but if it was meant for an option of ours
/// (`state.backend:filesystem`), it is an error, because the job would silently run with something else.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let mut entries = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let (content, comment) = content.split_once('#').unwrap_or((content, ""));
        if !comment.is_empty() && content.ends_with(|c: char| c > ' ') {
            tracing::warn!(line, "# begins a comment also inside a value; config.yaml can quote it");
        }
        let content = content.trim();
        match content.split_once(": ").map(|(key, value)| (key.trim(), value.trim())) {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                entries.insert(key.to_owned(), value.to_owned());
            }
            _ if content.is_empty() => {}
            _ => {
                check_skipped(content).map_err(|error| error.with("line", line))?;
                tracing::warn!(line, "skipped a line that is not `key: value`");
            }
        }
    }
    Ok(entries)
}

/// A skipped line must not have been meant for an option of ours. `key:` alone stands for "not set".
fn check_skipped(content: &str) -> Result<()> {
    let Some((key, value)) = content.split_once([':', '=']) else { return Ok(()) };
    let ours = options::every().flat_map(|option| option.keys()).any(|known| known == key.trim());
    if ours && !value.trim().is_empty() {
        return Err(
            Error::configuration("a line must be `key: value`, with a colon and a blank").with("found", content)
        );
    }
    Ok(())
}
