//! How values of each type are read from and written as text, by Flink's rules.

use std::time::Duration;

use highwater_types::{Error, Result};

use super::{MemorySize, format_duration, list, parse_duration};

/// A type that a configuration value can have.
///
/// Implemented for `bool`, `i32`, `i64`, `f64`, `String`, `Vec<String>`, [`MemorySize`], [`Duration`], the enums of
/// this crate, and `Option` of them: an option of type `Option<T>` without a default is `None` when it is not set.
pub trait ConfigValue: Sized {
    /// Reads the text of a value. The error says what is expected; the caller adds key and value.
    fn parse(text: &str) -> Result<Self>;

    /// Writes the value so that [`parse`](Self::parse) and Flink read it back; none stands for "not set".
    fn print(&self) -> Option<String>;

    /// The value of an option that is neither set nor has a default; none if there cannot be one.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    fn parse(text: &str) -> Result<Self> {
        T::parse(text).map(Some)
    }

    fn print(&self) -> Option<String> {
        self.as_ref().and_then(T::print)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl ConfigValue for String {
    fn parse(text: &str) -> Result<Self> {
        Ok(text.to_owned())
    }

    fn print(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl ConfigValue for Vec<String> {
    /// A YAML list `[a, b]`, or Flink's older form `a;b` where quotes protect a semicolon.
    fn parse(text: &str) -> Result<Self> {
        list::parse(text)
    }

    fn print(&self) -> Option<String> {
        Some(list::print(self))
    }
}

impl ConfigValue for bool {
    /// `true` or `false` in any case; `yes` and `1` are errors.
    fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Error::configuration("expected true or false")),
        }
    }

    fn print(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl ConfigValue for MemorySize {
    fn parse(text: &str) -> Result<Self> {
        text.parse()
    }

    fn print(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl ConfigValue for Duration {
    fn parse(text: &str) -> Result<Self> {
        parse_duration(text)
    }

    fn print(&self) -> Option<String> {
        Some(format_duration(*self))
    }
}

macro_rules! numbers {
    ($($type:ty => $expectation:literal),* $(,)?) => {$(
        impl ConfigValue for $type {
            fn parse(text: &str) -> Result<Self> {
                text.parse().map_err(|cause| Error::configuration($expectation).because(Box::new(cause)))
            }

            fn print(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

numbers! {
    i32 => "expected a whole number of 32 bits without a unit",
    i64 => "expected a whole number of 64 bits without a unit",
    f64 => "expected a number",
}

/// An enum whose variants have Flink's names as text. Reading ignores case, but not separators:
/// `no_claim` is `NO_CLAIM`, `no-claim` is an error.
macro_rules! config_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }

        impl $crate::config::ConfigValue for $name {
            fn parse(text: &str) -> ::highwater_types::Result<Self> {
                $(if text.eq_ignore_ascii_case($text) {
                    return Ok(Self::$variant);
                })+
                Err(::highwater_types::Error::configuration(concat!("expected one of", $(" ", $text,)+)))
            }

            fn print(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    };
}
pub(crate) use config_enum;
