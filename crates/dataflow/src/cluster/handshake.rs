//! Who may connect: a conversation of four messages, without sockets.
//!
//! The caller says hello with a random number, the callee answers with another, and the caller proves that it knows the
//! secret: an HMAC over all that was said. Only then does the callee look at what the caller wants, prove itself, and say
//! yes or no. Somebody without the secret learns nothing, not even what is wrong.

use highwater_types::{Error, Result};
use serde::{Deserialize, Serialize};

use super::protocol::{decode, encode};
use super::secret::{Secret, is_proof, prove};

/// First bytes of every hello; the last is the version of all that follows.
const MAGIC: [u8; 8] = *b"hghwtr\x00\x01";

/// What must be the same in all processes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The job's.
    pub(crate) job: String,
    pub(crate) processes: u32,
    /// Workers of each process.
    pub(crate) workers: u32,
    /// Of Highwater.
    pub(crate) version: String,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// To take part in the job; to process 0 only.
    Join {
        /// Another for each start of a process.
        incarnation: u64,
    },
    /// For the records of one attempt.
    Data { attempt_id: String },
}

/// What a caller says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    magic: [u8; 8],
    nonce: [u8; 32],
    pub(crate) identity: Identity,
    /// Index of the caller.
    pub(crate) from: u32,
    /// Index of the process it means to call.
    pub(crate) to: u32,
    pub(crate) purpose: Purpose,
}

/// What an authenticated caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Go on.
    Welcome,
    /// Not now; perhaps later.
    Later(String),
    /// Never: the two do not belong together.
    Never(String),
}

#[derive(Serialize, Deserialize)]
struct Signed {
    proof: [u8; 32],
    answer: Answer,
}

fn nonce() -> Result<[u8; 32]> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| Error::internal("there are no random numbers").because(error))?;
    Ok(nonce)
}

/// A number that no other start of a process has.
pub(crate) fn incarnation() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal("there are no random numbers").because(error))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The side that calls.
pub(crate) struct Caller<'a> {
    secret: Option<&'a Secret>,
    conversation: Vec<u8>,
}

impl<'a> Caller<'a> {
    /// The conversation and the first message to send.
    pub(crate) fn hello(
        secret: Option<&'a Secret>,
        identity: &Identity,
        (from, to): (u32, u32),
        purpose: Purpose,
    ) -> Result<(Self, Vec<u8>)> {
        let hello = encode(&Hello { magic: MAGIC, nonce: nonce()?, identity: identity.clone(), from, to, purpose })?;
        Ok((Self { secret, conversation: hello.clone() }, hello))
    }

    /// The second message to send, after the callee's number.
    pub(crate) fn prove(&mut self, challenge: &[u8]) -> Result<Vec<u8>> {
        self.conversation.extend_from_slice(challenge);
        Ok(prove(self.secret, "caller", &self.conversation)?.to_vec())
    }

    /// Reads the last message. None if the callee does not know the secret.
    pub(crate) fn answer(&self, message: &[u8]) -> Result<Option<Answer>> {
        let Ok(signed) = decode::<Signed>(message) else { return Ok(None) };
        let mut said = self.conversation.clone();
        said.extend_from_slice(&encode(&signed.answer)?);
        Ok(is_proof(self.secret, "callee", &said, &signed.proof)?.then_some(signed.answer))
    }
}

/// The side that is called.
pub(crate) struct Callee<'a> {
    secret: Option<&'a Secret>,
    conversation: Vec<u8>,
    pub(crate) hello: Hello,
}

impl<'a> Callee<'a> {
    /// The conversation and the message to send, after a hello; none if it is none.
    pub(crate) fn challenge(secret: Option<&'a Secret>, hello: &[u8]) -> Result<Option<(Self, Vec<u8>)>> {
        let Ok(read) = decode::<Hello>(hello) else { return Ok(None) };
        if read.magic != MAGIC {
            return Ok(None);
        }
        let challenge = nonce()?.to_vec();
        let conversation = [hello, &challenge].concat();
        Ok(Some((Self { secret, conversation, hello: read }, challenge)))
    }

    /// Whether the caller knows the secret.
    pub(crate) fn is_proof(&self, proof: &[u8]) -> Result<bool> {
        is_proof(self.secret, "caller", &self.conversation, proof)
    }

    /// What is wrong with a caller that knows the secret; none if it may be heard.
    pub(crate) fn mismatch(&self, own: &Identity, index: u32) -> Option<String> {
        let Hello { identity, from, to, .. } = &self.hello;
        let (theirs, ours) = match () {
            () if identity.job != own.job => (format!("job {}", identity.job), own.job.clone()),
            () if identity.version != own.version => (format!("version {}", identity.version), own.version.clone()),
            () if identity.processes != own.processes => {
                (format!("{} processes", identity.processes), own.processes.to_string())
            }
            () if identity.workers != own.workers => {
                (format!("{} workers per process", identity.workers), own.workers.to_string())
            }
            () if *to != index => (format!("a call to process {to}"), format!("process {index}")),
            () if *from >= own.processes || *from == index => {
                (format!("a call from process {from}"), format!("{} processes, process {index}", own.processes))
            }
            () => return None,
        };
        Some(format!("found: {theirs}, expected: {ours}"))
    }

    /// The last message to send.
    pub(crate) fn answer(&self, answer: Answer) -> Result<Vec<u8>> {
        let mut said = self.conversation.clone();
        said.extend_from_slice(&encode(&answer)?);
        encode(&Signed { proof: prove(self.secret, "callee", &said)?, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { job: "a".into(), processes: 3, workers: 2, version: "1".into() }
    }

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 32]).unwrap()
    }

    const JOIN: Purpose = Purpose::Join { incarnation: 7 };

    #[test]
    fn two_that_share_the_secret_believe_each_other() {
        let secret = secret(1);
        let (mut caller, hello) = Caller::hello(Some(&secret), &identity(), (2, 0), JOIN).unwrap();
        let (callee, challenge) = Callee::challenge(Some(&secret), &hello).unwrap().unwrap();
        assert!(callee.is_proof(&caller.prove(&challenge).unwrap()).unwrap());
        assert_eq!((callee.hello.from, &callee.hello.purpose), (2, &JOIN));
        assert_eq!(callee.mismatch(&identity(), 0), None);
        let answer = callee.answer(Answer::Later("busy".into())).unwrap();
        assert_eq!(caller.answer(&answer).unwrap(), Some(Answer::Later("busy".into())));
    }

    #[test]
    fn neither_side_believes_one_without_the_secret() {
        let (ours, theirs) = (secret(1), secret(2));
        for (caller_has, callee_has) in [(Some(&ours), Some(&theirs)), (None, Some(&theirs)), (Some(&ours), None)] {
            let (mut caller, hello) = Caller::hello(caller_has, &identity(), (1, 0), JOIN).unwrap();
            let (callee, challenge) = Callee::challenge(callee_has, &hello).unwrap().unwrap();
            assert!(!callee.is_proof(&caller.prove(&challenge).unwrap()).unwrap());
            assert_eq!(caller.answer(&callee.answer(Answer::Welcome).unwrap()).unwrap(), None);
        }
    }

    #[test]
    fn a_conversation_that_was_overheard_opens_no_other() {
        let secret = secret(1);
        let (mut caller, hello) = Caller::hello(Some(&secret), &identity(), (1, 0), JOIN).unwrap();
        let (callee, challenge) = Callee::challenge(Some(&secret), &hello).unwrap().unwrap();
        let proof = caller.prove(&challenge).unwrap();
        assert!(callee.is_proof(&proof).unwrap());
        let (again, _) = Callee::challenge(Some(&secret), &hello).unwrap().unwrap();
        assert!(!again.is_proof(&proof).unwrap(), "another number, another proof");
        let answer = callee.answer(Answer::Welcome).unwrap();
        let (other, _) = Caller::hello(Some(&secret), &identity(), (1, 0), JOIN).unwrap();
        assert_eq!(other.answer(&answer).unwrap(), None);
    }

    #[test]
    fn garbage_is_no_hello_and_no_answer() {
        let (caller, hello) = Caller::hello(None, &identity(), (1, 0), JOIN).unwrap();
        for length in 0..hello.len() {
            let cut = hello.get(..length).unwrap();
            assert!(Callee::challenge(None, cut).unwrap().is_none());
            assert_eq!(caller.answer(cut).unwrap(), None);
        }
        let mut other = hello;
        *other.first_mut().unwrap() ^= 1;
        assert!(Callee::challenge(None, &other).unwrap().is_none());
        assert!(Callee::challenge(None, b"GET / HTTP/1.1\r\n\r\n").unwrap().is_none());
    }

    #[test]
    fn what_does_not_belong_together_is_named() {
        let of = |change: fn(&mut Identity), between| {
            let mut theirs = identity();
            change(&mut theirs);
            let (_, hello) = Caller::hello(None, &theirs, between, JOIN).unwrap();
            Callee::challenge(None, &hello).unwrap().unwrap().0.mismatch(&identity(), 0).unwrap()
        };
        assert!(of(|theirs| theirs.job = "b".into(), (1, 0)).contains("job b"));
        assert!(of(|theirs| theirs.processes = 2, (1, 0)).contains("2 processes"));
        assert!(of(|theirs| theirs.workers = 9, (1, 0)).contains("9 workers"));
        assert!(of(|theirs| theirs.version = "2".into(), (1, 0)).contains("version 2"));
        assert!(of(|_| {}, (1, 2)).contains("call to process 2"));
        assert!(of(|_| {}, (3, 0)).contains("call from process 3"));
    }
}
