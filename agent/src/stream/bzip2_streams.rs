//! bzip2: all streams, nothing else allowed after the last. Unpacking takes under 4 MiB by the format itself.

use bzip2::{Decompress, Status};

use super::unpack::{Codec, Failure, Next, Ran};

/// What a stream starts with; the block size as a digit follows.
pub(super) const MAGIC: &[u8] = b"BZh";

/// Unpacks streams.
#[derive(Default)]
pub(super) struct Bzip2Codec {
    stream: Option<Decompress>,
}

impl Codec for Bzip2Codec {
    const LOOK_AHEAD: usize = MAGIC.len();

    fn next(&mut self, head: &[u8]) -> Result<Next, Failure> {
        if head.is_empty() {
            return Ok(Next::End);
        }
        if head != MAGIC {
            return Err(Failure::Garbage);
        }
        self.stream = Some(Decompress::new(false));
        Ok(Next::Stream)
    }

    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, Failure> {
        let Some(stream) = &mut self.stream else { return Err(Failure::corrupt("no stream begins here")) };
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(input, output).map_err(|error| Failure::Corrupt(error.into()))?;
        Ok(Ran {
            read: usize::try_from(stream.total_in() - read).unwrap_or(input.len()),
            written: usize::try_from(stream.total_out() - written).unwrap_or(output.len()),
            ended: status == Status::StreamEnd,
        })
    }
}
