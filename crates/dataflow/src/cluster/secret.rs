//! The shared secret of a cluster.

use std::fmt;
use std::path::Path;

use highwater_types::{Error, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What only the processes of one cluster know: without it nobody joins.
///
/// It never crosses the network, and is in no log, no error and no `Debug` text. White space at both ends is not part
/// of a secret that comes from a file or the environment.
///
/// ```
/// use highwater_dataflow::Secret;
///
/// let secret = Secret::new("0123456789abcdef0123456789abcdef")?; // openssl rand -hex 32
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("too short").is_err());
/// # Ok::<(), highwater_types::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Shortest secret in bytes: who listens in can try guesses at leisure.
const SHORTEST: usize = 16;

impl Secret {
    /// A secret of these bytes.
    ///
    /// # Errors
    /// A configuration error if they are fewer than 16.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self> {
        let secret = secret.into();
        if secret.len() < SHORTEST {
            return Err(Error::configuration(
                "the secret of a cluster is too short: make one with `openssl rand -hex 32`",
            )
            .with("bytes", secret.len())
            .with("shortest", SHORTEST));
        }
        Ok(Self(secret))
    }

    /// The text in a file, which should be readable by nobody else.
    ///
    /// # Errors
    /// A configuration error if the file cannot be read or holds too little.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|error| {
            Error::configuration("the secret of the cluster cannot be read").with("file", path.display()).because(error)
        })?;
        Self::new(text.trim_ascii()).map_err(|error| error.with("file", path.display()))
    }

    /// The value of an environment variable; none if it is not set or empty.
    ///
    /// # Errors
    /// A configuration error if it holds too little.
    pub fn from_env(variable: &str) -> Result<Option<Self>> {
        match std::env::var(variable).ok().filter(|text| !text.trim().is_empty()) {
            Some(text) => Self::new(text.trim()).map(Some).map_err(|error| error.with("variable", variable)),
            None => Ok(None),
        }
    }

    fn bytes(secret: Option<&Self>) -> &[u8] {
        secret.map_or(&[], |secret| &secret.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What proves knowledge of the secret. `part` tells the two sides apart, so that nobody can hand a proof back.
pub(super) fn prove(secret: Option<&Secret>, part: &str, conversation: &[u8]) -> Result<[u8; 32]> {
    Ok(mac(secret, part, conversation)?.finalize().into_bytes().into())
}

/// Whether a proof is right, found out in a time that does not depend on the proof.
pub(super) fn is_proof(secret: Option<&Secret>, part: &str, conversation: &[u8], proof: &[u8]) -> Result<bool> {
    Ok(mac(secret, part, conversation)?.verify_slice(proof).is_ok())
}

fn mac(secret: Option<&Secret>, part: &str, conversation: &[u8]) -> Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(Secret::bytes(secret))
        .map_err(|error| Error::internal("the secret cannot be used").because(error))?;
    mac.update(&[part.len() as u8]);
    mac.update(part.as_bytes());
    mac.update(conversation);
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_part_and_conversation_prove() {
        let (ours, theirs) = (Secret::new([1; 16]).unwrap(), Secret::new([2; 16]).unwrap());
        let proof = prove(Some(&ours), "client", b"hello").unwrap();
        assert!(is_proof(Some(&ours), "client", b"hello", &proof).unwrap());
        assert!(!is_proof(Some(&theirs), "client", b"hello", &proof).unwrap());
        assert!(!is_proof(None, "client", b"hello", &proof).unwrap());
        assert!(!is_proof(Some(&ours), "server", b"hello", &proof).unwrap());
        assert!(!is_proof(Some(&ours), "client", b"hullo", &proof).unwrap());
        assert!(!is_proof(Some(&ours), "client", b"hello", proof.get(..31).unwrap()).unwrap());
    }

    #[test]
    fn a_file_gives_its_text_without_the_end_of_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap(), Secret::new("0123456789abcdef").unwrap());
        std::fs::write(&path, "hush").unwrap();
        let error = Secret::from_file(&path).unwrap_err();
        assert!(error.value("file").is_some() && !format!("{error} {error:?}").contains("hush"));
    }
}
