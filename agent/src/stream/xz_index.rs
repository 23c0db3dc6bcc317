//! The .xz file format 1.2: the index at a stream's end, which must list the blocks that came, and the footer.

use sha2::{Digest as _, Sha256};

use super::{
    unpack::Failure,
    xz_header::{FOOTER_MAGIC, Number, STREAM_HEADER, StreamHeader, crc32},
};

/// Sizes of blocks in order: their number and a digest, so that many take no memory.
#[derive(Default)]
pub(super) struct Records {
    count: u64,
    sizes: Sha256,
}

impl Records {
    /// Adds a block: its length without padding, and that of its content.
    pub(super) fn add(&mut self, unpadded: u64, content: u64) {
        self.count += 1;
        self.sizes.update(unpadded.to_le_bytes());
        self.sizes.update(content.to_le_bytes());
    }
}

/// Reads index and footer of one stream.
pub(super) struct Index {
    /// What must be in it.
    seen: Records,
    listed: Records,
    flags: [u8; 2],
    part: Part,
    number: Number,
    /// Length without a record.
    unpadded: u64,
    /// Bytes so far.
    length: u64,
    crc: flate2::Crc,
    /// Bytes of what has a fixed length.
    fixed: [u8; STREAM_HEADER],
    fixed_length: usize,
}

enum Part {
    Indicator,
    Count,
    Unpadded,
    Content,
    Padding,
    Checksum,
    Footer,
}

impl Index {
    /// For a stream with this header and these blocks.
    pub(super) fn new(header: StreamHeader, seen: Records) -> Self {
        Self {
            seen,
            listed: Records::default(),
            flags: header.flags(),
            part: Part::Indicator,
            number: Number::default(),
            unpadded: 0,
            length: 0,
            crc: flate2::Crc::new(),
            fixed: [0; STREAM_HEADER],
            fixed_length: 0,
        }
    }

    /// Reads on; says how many bytes were of it, and whether it is complete.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, bool), Failure> {
        for (number, byte) in input.iter().enumerate() {
            if self.push(*byte)? {
                return Ok((number + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn push(&mut self, byte: u8) -> Result<bool, Failure> {
        if matches!(self.part, Part::Padding) && self.length.is_multiple_of(4) {
            if self.listed.sizes.clone().finalize() != self.seen.sizes.clone().finalize() {
                return Err(wrong());
            }
            self.part = Part::Checksum;
        }
        if !matches!(self.part, Part::Footer) {
            self.length += 1;
        }
        if !matches!(self.part, Part::Checksum | Part::Footer) {
            self.crc.update(&[byte]);
        }
        match self.part {
            Part::Indicator if byte == 0 => self.part = Part::Count,
            Part::Padding if byte == 0 => {}
            Part::Indicator | Part::Padding => return Err(wrong()),
            Part::Count | Part::Unpadded | Part::Content => {
                if self.number.push(byte).ok_or_else(wrong)? {
                    let value = std::mem::take(&mut self.number).value;
                    self.part = self.after_number(value)?;
                }
            }
            Part::Checksum => {
                if let Some(checksum) = self.collect::<4>(byte) {
                    if checksum != self.crc.sum().to_le_bytes() {
                        return Err(wrong());
                    }
                    self.part = Part::Footer;
                }
            }
            Part::Footer => {
                if let Some(footer) = self.collect::<STREAM_HEADER>(byte) {
                    return self.footer(footer).then_some(true).ok_or_else(wrong);
                }
            }
        }
        Ok(false)
    }

    fn after_number(&mut self, value: u64) -> Result<Part, Failure> {
        match self.part {
            Part::Count if value != self.seen.count => return Err(wrong()),
            Part::Unpadded => {
                self.unpadded = value;
                return Ok(Part::Content);
            }
            Part::Content => self.listed.add(self.unpadded, value),
            _ => {}
        }
        Ok(if self.listed.count == self.seen.count { Part::Padding } else { Part::Unpadded })
    }

    /// The next `N` bytes, once they are there.
    fn collect<const N: usize>(&mut self, byte: u8) -> Option<[u8; N]> {
        *self.fixed.get_mut(self.fixed_length)? = byte;
        self.fixed_length += 1;
        let whole = *self.fixed.get(..self.fixed_length)?.first_chunk()?;
        self.fixed_length = 0;
        Some(whole)
    }

    /// Whether the footer is right: checksum, length of the index, flags of the stream, magic.
    fn footer(&self, [c0, c1, c2, c3, b0, b1, b2, b3, f0, f1, magic @ ..]: [u8; STREAM_HEADER]) -> bool {
        let length = (u64::from(u32::from_le_bytes([b0, b1, b2, b3])) + 1) * 4;
        crc32(&[b0, b1, b2, b3, f0, f1]) == u32::from_le_bytes([c0, c1, c2, c3])
            && length == self.length
            && [f0, f1] == self.flags
            && magic == FOOTER_MAGIC
    }
}

fn wrong() -> Failure {
    Failure::corrupt("the index does not list the blocks")
}
