//! Where in timely's stream of messages a connection stands.

/// Length of a message header of timely: six numbers of eight bytes, the fifth of which is the length of what follows.
const HEADER: usize = 48;
const LENGTH: std::ops::Range<usize> = 32..40;

/// Follows a stream of messages. A header of length zero is its orderly end.
#[derive(Debug)]
pub(super) struct Boundary {
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the current message that are still to come.
    body: u64,
    has_ended: bool,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { header: [0; HEADER], have: 0, body: 0, has_ended: false }
    }
}

impl Boundary {
    /// Follows bytes that are handed on.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.has_ended {
            let taken = match self.body {
                0 => self.pass_header(bytes),
                body => {
                    let taken = bytes.len().min(usize::try_from(body).unwrap_or(usize::MAX));
                    self.body -= taken as u64;
                    taken
                }
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    fn pass_header(&mut self, bytes: &[u8]) -> usize {
        let missing = self.header.get_mut(self.have..).unwrap_or_default();
        let taken = missing.len().min(bytes.len());
        missing.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.have += taken;
        if self.have == HEADER {
            let length = self.header.get(LENGTH).and_then(|length| length.try_into().ok()).unwrap_or_default();
            self.body = u64::from_be_bytes(length);
            self.has_ended = self.body == 0;
            self.have = 0;
        }
        taken
    }

    /// Whether the orderly end has passed.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether no message is in the middle.
    pub(super) fn is_between_messages(&self) -> bool {
        self.body == 0 && self.have == 0
    }

    /// Makes up an end for a stream that has broken off: zeros for the rest of the message, then a header of zeros.
    /// Returns how many bytes were written; none once the stream has ended.
    ///
    /// A header that was cut is completed with zeros too. Its targets then name no worker that it did not name before.
    pub(super) fn make_up(&mut self, buffer: &mut [u8]) -> usize {
        if self.has_ended {
            return 0;
        }
        let missing = if self.body > 0 { self.body } else { (HEADER - self.have) as u64 };
        let length = buffer.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
        let made_up = buffer.get_mut(..length).unwrap_or_default();
        made_up.fill(0);
        self.pass(made_up);
        length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timely::communication::networking::MessageHeader;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let header = MessageHeader { channel: 1, source: 3, target_lower: 256, target_upper: 257, length, seqno: 9 };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        bytes.resize(bytes.len() + length, 0xff);
        bytes
    }

    /// What timely would read, and whether it would find the end as the very last thing.
    fn headers(mut bytes: &[u8]) -> (Vec<MessageHeader>, bool) {
        let mut headers = Vec::new();
        while let Some(header) = MessageHeader::try_read(bytes) {
            bytes = bytes.get(header.required_bytes()..).unwrap();
            headers.push(header);
        }
        let is_ended = bytes.is_empty() && headers.last().is_some_and(|last| last.length == 0);
        (headers, is_ended)
    }

    proptest! {
        /// Wherever a stream breaks off, what timely reads ends in order, and goes to no worker it was not meant for.
        #[test]
        fn a_stream_that_breaks_off_anywhere_is_brought_to_an_end(
            lengths in prop::collection::vec(1_usize..400, 0..5),
            cut in any::<prop::sample::Index>(),
            step in 1_usize..100,
        ) {
            let whole: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
            let mut read = whole.get(..cut.index(whole.len() + 1)).unwrap().to_vec();
            let mut boundary = Boundary::default();
            read.chunks(step).for_each(|chunk| boundary.pass(chunk));
            prop_assert!(!boundary.has_ended());
            prop_assert_eq!(boundary.is_between_messages(), headers(&read).0.iter().map(MessageHeader::required_bytes).sum::<usize>() == read.len());
            let mut buffer = vec![1; step];
            loop {
                match boundary.make_up(&mut buffer) {
                    0 => break,
                    made_up => read.extend_from_slice(buffer.get(..made_up).unwrap()),
                }
            }
            let (headers, is_ended) = headers(&read);
            prop_assert!(is_ended);
            for header in headers {
                prop_assert!((header.target_lower..header.target_upper).all(|target| target == 256));
            }
        }

        #[test]
        fn the_orderly_end_is_seen(length in 1_usize..400, step in 1_usize..100) {
            let whole = [message(length), message(0)].concat();
            let mut boundary = Boundary::default();
            whole.chunks(step).for_each(|chunk| boundary.pass(chunk));
            prop_assert!(boundary.has_ended());
            prop_assert_eq!(boundary.make_up(&mut [0; 8]), 0);
        }
    }
}
