//! The properties that follow the operators from version 4 on: a Java object stream of Flink's `CheckpointProperties`.
//! Highwater keeps what it read as it is and never interprets it; but it walks through it, as a file that was cut ends
//! here most likely.

use highwater_types::{ByteReader, Error, Result};

use super::java_object::read_object;

/// The class of the object.
const CLASS: &str = "org.apache.flink.runtime.checkpoint.CheckpointProperties";

/// The properties of a canonical savepoint, byte for byte as Flink 1.16 to 2.3 write them. A snapshot without
/// properties of its own is written with these.
#[rustfmt::skip]
pub(super) const CANONICAL_SAVEPOINT: &[u8] = b"\
\xac\xed\x00\x05sr\x008org.apache.flink.runtime.checkpoint.CheckpointProperties\x00\x00\x00\x00\x00\
\x00\x00\x02\x02\x00\x08Z\x00\x10discardCancelledZ\x00\x0ddiscardFailedZ\x00\x0fdiscardFinishedZ\x00\
\x0fdiscardSubsumedZ\x00\x10discardSuspendedZ\x00\x06forcedZ\x00\x09unclaimedL\x00\x0echeckpointType\
t\x002Lorg/apache/flink/runtime/checkpoint/SnapshotType;xp\x00\x00\x00\x00\x00\x01\x00sr\x001org.apa\
che.flink.runtime.checkpoint.SavepointType\xa0\x87\xd3\x08\xa4X\x14\xb8\x02\x00\x03L\x00\x0aformatTy\
pet\x005Lorg/apache/flink/core/execution/SavepointFormatType;L\x00\x04namet\x00\x12Ljava/lang/String\
;L\x00\x14postCheckpointActiont\x00HLorg/apache/flink/runtime/checkpoint/SavepointType$PostCheckpoin\
tAction;xp~r\x003org.apache.flink.core.execution.SavepointFormatType\x00\x00\x00\x00\x00\x00\x00\x00\
\x12\x00\x00xr\x00\x0ejava.lang.Enum\x00\x00\x00\x00\x00\x00\x00\x00\x12\x00\x00xpt\x00\x09CANONICAL\
t\x00\x09Savepoint~r\x00Forg.apache.flink.runtime.checkpoint.SavepointType$PostCheckpointAction\x00\
\x00\x00\x00\x00\x00\x00\x00\x12\x00\x00xq\x00~\x00\x09t\x00\x04NONE\
";

/// The bytes of the object.
pub(super) fn read(reader: &mut ByteReader<'_>) -> Result<Vec<u8>> {
    let (offset, bytes) = (reader.position(), reader.rest());
    read_object(reader, CLASS).map_err(|error| {
        Error::corrupt("the checkpoint's properties are missing, cut short or damaged")
            .with("offset", offset)
            .because(error)
    })?;
    Ok(bytes.get(..reader.position() - offset).unwrap_or_default().to_vec())
}

/// Properties that could not be read again are not written.
pub(super) fn check(properties: &[u8]) -> Result<()> {
    let mut reader = ByteReader::new(properties);
    match read_object(&mut reader, CLASS) {
        Ok(()) if reader.is_empty() => Ok(()),
        result => {
            let error = Error::program("the properties given to a checkpoint are none: give those of another, or none");
            Err(match result {
                Ok(()) => error.with("bytes that follow", reader.remaining()),
                Err(cause) => error.because(cause),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_is_the_java_stream_of_a_canonical_savepoint() {
        assert_eq!(CANONICAL_SAVEPOINT.len(), 745);
        check(CANONICAL_SAVEPOINT).unwrap();
        let text = String::from_utf8_lossy(CANONICAL_SAVEPOINT);
        assert!(text.contains("org.apache.flink.runtime.checkpoint.CheckpointProperties"));
        assert!(text.contains("CANONICAL"));
    }
}
