//! The configuration: keys and texts, read through typed options.

use std::collections::BTreeMap;
use std::fmt;

use highwater_types::{Error, Result};
use serde::{Deserialize, Serialize};

use super::nearest::unknown_name;
use super::{ConfigOption, ConfigValue, OptionInfo};
use crate::options;

/// Keys of Highwater itself begin so; a key below it that no option has is an error.
const OWN_PREFIX: &str = "highwater.";

/// What a job or a cluster is configured with: Flink's keys, old and new, and their texts.
///
/// A value is parsed when it is read, so that keys of other programs may stand in the same file; they are ignored. Of
/// one option the current key wins over the older ones. The map is ordered by key and serializes as a plain map.
///
/// ```
/// use std::time::Duration;
/// use highwater_backends::{Configuration, options};
///
/// let mut configuration = Configuration::new();
/// configuration.set_raw("state.checkpoints.dir", "file:///data/checkpoints"); // Flink 1.12
/// configuration.set(&options::CHECKPOINTING_INTERVAL, Duration::from_secs(5));
///
/// let directory = configuration.get(&options::CHECKPOINTS_DIRECTORY)?; // Flink 2.x: execution.checkpointing.dir
/// assert_eq!(directory.as_deref(), Some("file:///data/checkpoints"));
/// assert_eq!(configuration.raw("execution.checkpointing.interval"), Some("5 s"));
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Configuration {
    entries: BTreeMap<String, String>,
}

impl Configuration {
    /// Without any key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of an option: its current key, else its older keys in their order, else its default.
    ///
    /// # Errors
    /// "Could not parse value" with key and value, if the text is not one of the option's type.
    pub fn get<T: ConfigValue>(&self, option: &ConfigOption<T>) -> Result<T> {
        if let Some(value) = self.get_set(option)? {
            return Ok(value);
        }
        match option.info().default_text() {
            Some(text) => parse(option.key(), text),
            None => T::absent().ok_or_else(|| Error::program("the option has no default").with("key", option.key())),
        }
    }

    /// As [`get`](Self::get) without the default: none if no key of the option is set.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_set<T: ConfigValue>(&self, option: &ConfigOption<T>) -> Result<Option<T>> {
        self.find(option.info()).map(|(key, text)| parse(key, text)).transpose()
    }

    /// The key under which an option is set, and its text.
    #[must_use]
    pub fn find(&self, option: &OptionInfo) -> Option<(&'static str, &str)> {
        option.keys().find_map(|key| self.raw(key).map(|text| (key, text)))
    }

    /// Whether any key of the option is set.
    #[must_use]
    pub fn contains<T>(&self, option: &ConfigOption<T>) -> bool {
        self.find(option.info()).is_some()
    }

    /// Sets an option under its current key; none removes it. Older keys of the option are removed.
    pub fn set<T: ConfigValue>(&mut self, option: &ConfigOption<T>, value: impl Into<T>) -> &mut Self {
        self.unset(option.info());
        if let Some(text) = value.into().print() {
            self.set_raw(option.key(), text);
        }
        self
    }

    /// Sets a key to a text, whatever the key.
    pub fn set_raw(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.entries.insert(key.into(), value.into());
        self
    }

    /// Removes every key of an option.
    pub fn remove<T>(&mut self, option: &ConfigOption<T>) -> &mut Self {
        self.unset(option.info());
        self
    }

    /// The text of exactly this key.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// Keys and texts in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, text)| (key.as_str(), text.as_str()))
    }

    /// This configuration with another one laid over it: what the other sets wins.
    ///
    /// An option of Highwater's counts as one whatever its name: an older key above replaces the current key
    /// below. (Flink overlays plain keys, so that there the current key would win from below.)
    #[must_use]
    pub fn overlaid_with(&self, above: &Self) -> Self {
        let mut result = self.clone();
        for option in options::every().filter(|option| above.find(option).is_some()) {
            result.unset(option);
        }
        result.entries.extend(above.entries.iter().map(|(key, text)| (key.clone(), text.clone())));
        result
    }

    /// Refuses keys below `highwater.` that no option of Highwater has: they are slips of the pen, since nothing
    /// else reads them. Loading a file and creating a backend check this by themselves.
    ///
    /// # Errors
    /// A configuration error that names the key and the nearest known one.
    pub fn check_own_keys(&self) -> Result<()> {
        let own: Vec<_> =
            options::every().flat_map(|option| option.keys()).filter(|key| key.starts_with(OWN_PREFIX)).collect();
        match self.entries.keys().find(|key| key.starts_with(OWN_PREFIX) && !own.contains(&key.as_str())) {
            Some(key) => Err(unknown_name("Highwater has no option of this key", key, &own)),
            None => Ok(()),
        }
    }

    fn unset(&mut self, option: &OptionInfo) {
        for key in option.keys() {
            self.entries.remove(key);
        }
    }
}

fn parse<T: ConfigValue>(key: &'static str, text: &str) -> Result<T> {
    T::parse(text).map_err(|cause| {
        Error::configuration("Could not parse value").with("key", key).with("value", text).because(cause)
    })
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Configuration {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|(key, text)| (key.into(), text.into())).collect() }
    }
}

impl fmt::Display for Configuration {
    /// One line `key: value` for each key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(key, text)| writeln!(f, "{key}: {text}"))
    }
}
