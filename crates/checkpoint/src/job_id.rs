//! Job ids.

use std::fmt::{self, Display};
use std::str::FromStr;

use highwater_types::{Error, OperatorId, Result};

/// Identity of a job: 16 bytes, printed as 32 hex digits, which name the job's directory below the checkpoint base.
///
/// Flink draws a random one per submission. Highwater derives it from the job's name, so that the same job finds its
/// own checkpoints again.
///
/// ```
/// use highwater_checkpoint::JobId;
///
/// let id = JobId::from_name("word count");
/// assert_eq!(id, JobId::from_name("word count"));
/// assert_ne!(id, JobId::from_name("word counts"));
/// assert_eq!(id.to_string().parse::<JobId>()?, id);
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId([u8; 16]);

impl JobId {
    /// The id of the job of this name: the hash that also makes operator ids of uids.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(*OperatorId::from_uid(name).as_bytes())
    }

    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, in printed order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for JobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => u128::from_str_radix(text, 16).ok(),
            false => None,
        }
        .map(|number| Self(number.to_be_bytes()))
        .ok_or_else(|| Error::configuration("a job id has 32 hex digits").with("job id", format!("'{text}'")))
    }
}
