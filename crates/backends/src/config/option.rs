//! A key of the configuration with its older names, type, default and meaning.

use std::marker::PhantomData;

use super::ConfigValue;

/// What is known of an option apart from its type; [`options::ALL`](crate::options::ALL) lists one for each option.
#[derive(Debug)]
pub struct OptionInfo {
    key: &'static str,
    older_keys: &'static [&'static str],
    default: Option<&'static str>,
    description: &'static str,
}

impl OptionInfo {
    /// The current key (Flink 2.x).
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// Keys of older Flink releases, newest first; read in this order when the current key is not set.
    #[must_use]
    pub fn older_keys(&self) -> &'static [&'static str] {
        self.older_keys
    }

    /// The current key, then the older ones.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.older_keys.iter().copied())
    }

    /// The default as one would write it in a configuration file; none if there is none.
    #[must_use]
    pub fn default_text(&self) -> Option<&'static str> {
        self.default
    }

    /// What the option does.
    #[must_use]
    pub fn description(&self) -> &'static str {
        self.description.trim()
    }
}

/// A typed option (Flink's `ConfigOption`). The options of Highwater are in [`options`](crate::options); a custom
/// backend declares its own the same way.
///
/// ```
/// use highwater_backends::{ConfigOption, Configuration, MemorySize};
///
/// static CACHE: ConfigOption<MemorySize> =
///     ConfigOption::new("state.backend.fjall.cache-size", "32 mb", "Size of the block cache.")
///         .with_older_keys(&["fjall.cache"]);
///
/// let mut configuration = Configuration::new();
/// assert_eq!(configuration.get(&CACHE)?, MemorySize::from_mebibytes(32));
/// configuration.set_raw("fjall.cache", "1 gb");
/// assert_eq!(configuration.get(&CACHE)?.bytes(), 1 << 30);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Debug)]
pub struct ConfigOption<T> {
    info: OptionInfo,
    value: PhantomData<fn() -> T>,
}

impl<T: ConfigValue> ConfigOption<T> {
    /// An option with a default, written as in a configuration file.
    #[must_use]
    pub const fn new(key: &'static str, default: &'static str, description: &'static str) -> Self {
        Self::build(key, Some(default), description)
    }

    /// Adds the keys of older releases, newest first.
    #[must_use]
    pub const fn with_older_keys(mut self, older_keys: &'static [&'static str]) -> Self {
        self.info.older_keys = older_keys;
        self
    }

    const fn build(key: &'static str, default: Option<&'static str>, description: &'static str) -> Self {
        Self { info: OptionInfo { key, older_keys: &[], default, description }, value: PhantomData }
    }
}

impl<T: ConfigValue> ConfigOption<Option<T>> {
    /// An option without a default.
    #[must_use]
    pub const fn optional(key: &'static str, description: &'static str) -> Self {
        Self::build(key, None, description)
    }
}

impl<T> ConfigOption<T> {
    /// Keys, default and description.
    #[must_use]
    pub const fn info(&self) -> &OptionInfo {
        &self.info
    }

    /// The current key.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        self.info.key
    }
}
