//! Flink's configuration: typed options over keys and texts, and the files they come from.

mod configuration;
mod duration;
mod flink_conf;
mod list;
mod load;
mod memory_size;
mod nearest;
mod number;
mod option;
mod value;
mod yaml;

pub use configuration::Configuration;
pub use duration::{format_duration, parse_duration};
pub use memory_size::MemorySize;
#[cfg(feature = "rocksdb")]
pub(crate) use nearest::nearest;
pub(crate) use nearest::unknown_name;
pub use option::{ConfigOption, OptionInfo};
pub use value::ConfigValue;
pub(crate) use value::config_enum;
