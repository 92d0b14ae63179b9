//! Configuration files.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use highwater_types::{Error, Result, ResultExt};

use super::{Configuration, flink_conf, yaml};

/// Name of the configuration file since Flink 1.19.
const CONFIG_YAML: &str = "config.yaml";
/// Name of the configuration file up to Flink 1.20.
const FLINK_CONF: &str = "flink-conf.yaml";
/// Largest file that is read, in bytes. Flink's own file has some twenty thousand.
const MAX_BYTES: u64 = 16 << 20;

impl Configuration {
    /// Loads a configuration file, or the one in a directory.
    ///
    /// A file named `flink-conf.yaml` is read as the lines `key: value` that it consists of, any other as YAML. In a
    /// directory `config.yaml` is taken if it is there, else `flink-conf.yaml`, as Flink 2.x would; if both are there,
    /// a warning names the one that is not read.
    ///
    /// # Errors
    /// A configuration error with the file if it does not exist or cannot be understood (with the line), or holds an
    /// unknown key below `highwater.`; a storage error if it cannot be read.
    ///
    /// ```
    /// use highwater_backends::{Configuration, options};
    ///
    /// let directory = tempfile::tempdir()?;
    /// std::fs::write(directory.path().join("config.yaml"), "execution:\n  checkpointing:\n    interval: 5 s\n")?;
    /// let configuration = Configuration::load(directory.path())?;
    /// assert_eq!(configuration.raw("execution.checkpointing.interval"), Some("5 s"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Self::load_file(path);
        }
        let (current, old) = (path.join(CONFIG_YAML), path.join(FLINK_CONF));
        match (current.exists(), old.exists()) {
            (true, old_exists) => {
                if old_exists {
                    tracing::warn!(file = %old.display(), "not read, because {CONFIG_YAML} stands beside it");
                }
                Self::load_file(&current)
            }
            (false, true) => Self::load_file(&old),
            (false, false) => Err(Error::configuration("the directory holds neither config.yaml nor flink-conf.yaml")
                .with("file", path.display())),
        }
    }

    /// Reads the text of a `config.yaml`: nested keys are joined by dots, a list becomes one line `[a, b]`, every
    /// scalar stays as it was written.
    ///
    /// # Errors
    /// A configuration error with the line, if the text is not YAML, not one mapping, sets a key twice or uses
    /// aliases; or with the key, if it is an unknown one below `highwater.`.
    pub fn from_yaml(text: &str) -> Result<Self> {
        Self::checked(yaml::parse(text)?)
    }

    /// Reads the text of a `flink-conf.yaml`: lines `key: value`, comments begin with `#`.
    ///
    /// # Errors
    /// A configuration error with the line, if a line names an option of Highwater but has no blank after the colon;
    /// or with the key, if it is an unknown one below `highwater.`.
    pub fn from_flink_conf(text: &str) -> Result<Self> {
        Self::checked(flink_conf::parse(text)?)
    }

    fn load_file(path: &Path) -> Result<Self> {
        let text = read(path).with("file", path.display())?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let parsed = if path.file_name().is_some_and(|name| name == FLINK_CONF) {
            Self::from_flink_conf(text)
        } else {
            Self::from_yaml(text)
        };
        parsed.with("file", path.display())
    }

    fn checked(entries: std::collections::BTreeMap<String, String>) -> Result<Self> {
        let configuration: Self = entries.into_iter().collect();
        configuration.check_own_keys()?;
        Ok(configuration)
    }
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(|cause| match cause
        .kind()
    {
        ErrorKind::NotFound => Error::configuration("the configuration file does not exist"),
        _ => Error::storage("cannot read the configuration file").because(cause),
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::configuration("the configuration file is too large").with("limit", MAX_BYTES));
    }
    String::from_utf8(bytes).map_err(|cause| Error::configuration("the configuration file is not UTF-8").because(cause))
}
