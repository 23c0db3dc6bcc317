//! The rest of an .xz stream, some blocks of which were unpacked elsewhere. The library unpacks and checks each block,
//! but would miss those blocks in the index; so where blocks end is found, and the index compared, here.

use liblzma::stream::Stream;

use super::{
    unpack::{Failure, Ran},
    xz_header::{BlockHeader, StreamHeader},
    xz_index::{Index, Records},
    xz_streams,
};

/// Unpacks what is left of a stream, from the beginning of a block on.
pub(super) struct Rest {
    header: StreamHeader,
    seen: Records,
    decoder: Stream,
    place: Place,
}

enum Place {
    /// Before a block or the index.
    Between,
    Block {
        walk: Walk,
        /// What the decoder had put out before the block.
        before: u64,
    },
    Index(Box<Index>),
}

impl Rest {
    /// The rest of a stream with this header, behind these blocks.
    pub(super) fn new(header: StreamHeader, seen: Records) -> Result<Self, Failure> {
        let decoder = xz_streams::decoder_within(header, xz_streams::LARGEST_MEMORY)?;
        Ok(Self { header, seen, decoder, place: Place::Between })
    }

    /// Unpacks what it can. No input means that there is no more.
    pub(super) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, Failure> {
        let (mut read, mut written) = (0, 0);
        loop {
            let input = input.get(read..).unwrap_or_default();
            match &mut self.place {
                Place::Between => match input.first() {
                    None => break,
                    Some(0) => {
                        self.place =
                            Place::Index(Box::new(Index::new(self.header, std::mem::take(&mut self.seen))));
                    }
                    Some(first) => {
                        let before = self.decoder.total_out();
                        self.place = Place::Block { walk: Walk::new(*first, self.header), before };
                    }
                },
                Place::Block { walk, before } => {
                    // With nothing left of the block the decoder may still have content of it.
                    let of_block = usize::try_from(walk.left).unwrap_or(usize::MAX).min(input.len());
                    let of_block = input.get(..of_block).unwrap_or_default();
                    let room = output.get_mut(written..).unwrap_or_default();
                    let ran = xz_streams::run(&mut self.decoder, of_block, room)?;
                    walk.pass(of_block.get(..ran.read).unwrap_or_default());
                    let full = ran.written == room.len();
                    (read, written) = (read + ran.read, written + ran.written);
                    if full || ran.read + ran.written == 0 && walk.left > 0 {
                        break;
                    }
                    if walk.left == 0 && ran.written == 0 {
                        if self.decoder.total_out() - *before != walk.content {
                            return Err(Failure::corrupt("a block ends in its middle"));
                        }
                        self.seen.add(walk.unpadded, walk.content);
                        self.place = Place::Between;
                    }
                }
                Place::Index(index) => {
                    let (count, ended) = index.read(input)?;
                    return Ok(Ran { read: read + count, written, ended });
                }
            }
        }
        Ok(Ran { read, written, ended: false })
    }
}

/// Follows a block by the headers of its chunks of LZMA2, which is the last filter of every block, to its end. What is
/// wrong in it the decoder has seen before.
struct Walk {
    part: Part,
    /// Bytes of the part that are still to come; none at the end of the block.
    left: u64,
    /// Bytes of a chunk's header.
    word: u64,
    /// Length of header, packed content and check so far.
    unpadded: u64,
    content: u64,
    check: u64,
}

#[derive(Clone, Copy)]
enum Part {
    Header,
    /// The first byte of a chunk, or of the end.
    Control,
    /// The sizes of a chunk that is packed, or is not.
    Sizes(u8),
    Chunk,
    Padding,
    Check,
}

impl Walk {
    fn new(first: u8, header: StreamHeader) -> Self {
        let left = BlockHeader::length(first) as u64;
        let check = header.check_length().unwrap_or(0);
        Self { part: Part::Header, left, word: 0, unpadded: 0, content: 0, check }
    }

    /// Passes bytes of the current part.
    fn pass(&mut self, bytes: &[u8]) {
        let Some(&last) = bytes.last() else { return };
        self.left = self.left.saturating_sub(bytes.len() as u64);
        if !matches!(self.part, Part::Padding) {
            self.unpadded += bytes.len() as u64;
        }
        if matches!(self.part, Part::Sizes(_)) {
            self.word = bytes.iter().fold(self.word, |word, byte| word << 8 | u64::from(*byte));
        }
        if self.left == 0 {
            self.go_on(last);
        }
    }

    /// Begins the part after one that ended with `last`.
    fn go_on(&mut self, last: u8) {
        let (part, left) = match self.part {
            Part::Header | Part::Chunk => (Part::Control, 1),
            // The header of a block is a multiple of four.
            Part::Control if last == 0 => match self.unpadded.next_multiple_of(4) - self.unpadded {
                0 => (Part::Check, self.check),
                padding => (Part::Padding, padding),
            },
            Part::Control => {
                self.word = 0;
                (Part::Sizes(last), if last & 0x80 == 0 { 2 } else { 4 })
            }
            Part::Sizes(control) if control & 0x80 == 0 => {
                let length = (self.word & 0xffff) + 1;
                self.content += length;
                (Part::Chunk, length)
            }
            Part::Sizes(control) => {
                self.content += (u64::from(control & 0x1f) << 16 | self.word >> 16) + 1;
                // New properties stand before the packed bytes and are not counted.
                (Part::Chunk, (self.word & 0xffff) + 1 + u64::from(control >= 0xc0))
            }
            Part::Padding => (Part::Check, self.check),
            Part::Check => (Part::Check, 0),
        };
        (self.part, self.left) = (part, left);
    }
}
