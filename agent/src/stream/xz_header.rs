//! The .xz file format 1.2: headers of streams and blocks.

/// What a stream begins and ends with.
pub(super) const MAGIC: &[u8] = b"\xfd7zXZ\0";
pub(super) const FOOTER_MAGIC: &[u8] = b"YZ";
/// Length of a stream's header, and of its footer.
pub(super) const STREAM_HEADER: usize = 12;
/// Longest integer.
pub(super) const LONGEST_NUMBER: usize = 9;
/// The filter of nearly all blocks, and always the last of a block.
const LZMA2: u64 = 0x21;
/// Largest property of the filter.
const LARGEST_PROPERTY: u8 = 40;
/// Flags of a block that have no meaning yet.
const RESERVED_FLAGS: u8 = 0x3c;
/// Flags of a block whose header gives both sizes and has one filter.
const SIZED: u8 = 0xc0;

/// A stream's header: magic, flags, checksum of the flags.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamHeader(pub(super) [u8; STREAM_HEADER]);

impl StreamHeader {
    /// The header, when it is right and its check is one that is verified here.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let header = Self(*head.first_chunk()?);
        let right = head.starts_with(MAGIC)
            && header.flags()[0] == 0
            && crc32(&header.flags()) == u32::from_le_bytes(*header.0.last_chunk()?);
        (right && header.check_length().is_some()).then_some(header)
    }

    /// What the footer repeats.
    pub(super) fn flags(self) -> [u8; 2] {
        [self.0[6], self.0[7]]
    }

    /// Length of the check behind each block; `None` when nobody knows the check.
    pub(super) fn check_length(self) -> Option<u64> {
        match self.0[7] {
            0 => Some(0),
            1 => Some(4),
            4 => Some(8),
            10 => Some(32),
            _ => None,
        }
    }
}

/// The header of a block that gives both sizes and has no filter but LZMA2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// Length of the header itself.
    pub(super) length: u64,
    /// Length of the packed content, at least one byte.
    pub(super) packed: u64,
    /// Length of the content.
    pub(super) content: u64,
    /// Size of the dictionary.
    pub(super) dictionary: u64,
}

impl BlockHeader {
    /// Length of the header that begins with this byte, which is not zero.
    pub(super) fn length(first: u8) -> usize {
        (usize::from(first) + 1) * 4
    }

    /// Reads a whole header. `None` when it is one of another kind, or damaged.
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        let (fields, checksum) = header.split_last_chunk::<4>()?;
        let [first, flags, rest @ ..] = fields else { return None };
        let whole = *first != 0 && Self::length(*first) == header.len();
        if !whole || crc32(fields) != u32::from_le_bytes(*checksum) {
            return None;
        }
        if flags & (RESERVED_FLAGS | SIZED) != SIZED || flags & 3 != 0 {
            return None;
        }
        let mut rest = rest;
        let (packed, content) = (number(&mut rest)?, number(&mut rest)?);
        let (filter, properties) = (number(&mut rest)?, number(&mut rest)?);
        let (&property, padding) = rest.split_first()?;
        let lzma2 = filter == LZMA2 && properties == 1 && property <= LARGEST_PROPERTY;
        if packed == 0 || !lzma2 || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let dictionary = match property {
            LARGEST_PROPERTY => u64::from(u32::MAX),
            _ => (2 | u64::from(property & 1)) << (property / 2 + 11),
        };
        Some(Self { length: header.len() as u64, packed, content, dictionary })
    }
}

/// Takes an integer off `bytes`.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = Number::default();
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if number.push(byte)? {
            return Some(number.value);
        }
    }
}

/// An integer as it comes, seven bits a byte, the lowest first.
#[derive(Default)]
pub(super) struct Number {
    pub(super) value: u64,
    length: usize,
}

impl Number {
    /// Whether this byte was the last; `None` when it cannot be.
    pub(super) fn push(&mut self, byte: u8) -> Option<bool> {
        let too_long = self.length == LONGEST_NUMBER - 1 && byte & 0x80 != 0;
        let not_shortest = self.length > 0 && byte == 0;
        if too_long || not_shortest {
            return None;
        }
        self.value |= u64::from(byte & 0x7f) << (7 * self.length);
        self.length += 1;
        Some(byte & 0x80 == 0)
    }
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `xz -T1 --block-size` writes: no sizes; what `xz -T2` writes: both.
    const WITHOUT: &[u8] = &[0x02, 0x00, 0x21, 0x01, 0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3];

    fn with_checksum(fields: &[u8]) -> Vec<u8> {
        [fields, &crc32(fields).to_le_bytes()].concat()
    }

    #[test]
    fn only_headers_with_sizes_and_lzma2_alone_are_read() {
        assert_eq!(BlockHeader::parse(WITHOUT), None);
        let sized = [4, 0xc0, 0x91, 0x22, 0x80, 0x80, 0x80, 0x0c, 0x21, 0x01, 0x16, 0, 0, 0, 0, 0];
        let header = with_checksum(&sized);
        let expected = BlockHeader { length: 20, packed: 0x1111, content: 24 << 20, dictionary: 8 << 20 };
        assert_eq!(BlockHeader::parse(&header), Some(expected));
        for at in 0..header.len() {
            let mut flipped = header.clone();
            flipped[at] ^= 1;
            assert_eq!(BlockHeader::parse(&flipped), None, "{at}");
            assert_eq!(BlockHeader::parse(&header[..at]), None, "{at}");
        }
        let changed = |at: usize, byte: u8| {
            let mut fields = sized;
            fields[at] = byte;
            BlockHeader::parse(&with_checksum(&fields))
        };
        // Another flag, number of filters, filter, properties, padding.
        for (at, byte) in [(1, 0xc4), (1, 0xc1), (1, 0x80), (8, 4), (9, 2), (10, 41), (15, 1)] {
            assert_eq!(changed(at, byte), None, "{at}");
        }
        assert_eq!(changed(10, 40).unwrap().dictionary, u64::from(u32::MAX));
        assert_eq!(changed(10, 0).unwrap().dictionary, 4 << 10);
        assert_eq!(changed(10, 1).unwrap().dictionary, 6 << 10);
    }

    #[test]
    fn numbers_have_one_form_and_63_bits() {
        let read = |mut bytes: &[u8]| number(&mut bytes);
        assert_eq!(read(&[0]), Some(0));
        assert_eq!(read(&[0x80, 1]), Some(128));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Some(u64::MAX >> 1));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), None);
        assert_eq!((read(&[0x80, 0]), read(&[0x80]), read(&[])), (None, None, None));
    }
}
