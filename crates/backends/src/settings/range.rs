//! Range checks of configured values: every error names key, value and range.

use std::ops::RangeInclusive;

use highwater_types::{Error, Result};

use crate::config::{ConfigOption, ConfigValue, Configuration};

/// Reading a value that has a range.
pub(crate) trait Ranged {
    /// The value of an option, checked to lie in the range.
    fn ranged<T: ConfigValue + PartialOrd>(&self, option: &ConfigOption<T>, range: RangeInclusive<T>) -> Result<T>;

    /// The value of an option, checked to be at least `min`.
    fn at_least<T: ConfigValue + PartialOrd>(&self, option: &ConfigOption<T>, min: T) -> Result<T>;
}

impl Ranged for Configuration {
    fn ranged<T: ConfigValue + PartialOrd>(&self, option: &ConfigOption<T>, range: RangeInclusive<T>) -> Result<T> {
        let value = self.get(option)?;
        if range.contains(&value) {
            return Ok(value);
        }
        let (min, max) = range.into_inner();
        Err(out_of_range(self, option, &format!("{} to {}", text(&min), text(&max))))
    }

    fn at_least<T: ConfigValue + PartialOrd>(&self, option: &ConfigOption<T>, min: T) -> Result<T> {
        let value = self.get(option)?;
        if value >= min {
            return Ok(value);
        }
        Err(out_of_range(self, option, &format!("must be larger than or equal to {}", text(&min))))
    }
}

fn text<T: ConfigValue>(value: &T) -> String {
    value.print().unwrap_or_default()
}

fn out_of_range<T: ConfigValue>(configuration: &Configuration, option: &ConfigOption<T>, range: &str) -> Error {
    let (key, value) = configuration.find(option.info()).unwrap_or((option.key(), ""));
    Error::configuration("a configured value is out of range")
        .with("key", key)
        .with("value", value)
        .with("allowed", range)
}
