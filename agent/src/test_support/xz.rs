//! Files of the .xz format as its writers make them, and as none would.

use liblzma::stream::{Check, Filters, LzmaOptions, Stream};

/// A block.
#[derive(Clone, Debug)]
pub(crate) struct XzBlock {
    pub(crate) content: Vec<u8>,
    /// Whether its header gives both sizes.
    pub(crate) sized: bool,
    pub(crate) dictionary: u32,
    /// Whether it has a filter before LZMA2.
    pub(crate) filtered: bool,
    /// Whether its packed bytes are the content as it is, which takes no time.
    pub(crate) stored: bool,
    /// What its header says instead of the sizes of packed bytes and content.
    pub(crate) lies: Option<(u64, u64)>,
}

impl XzBlock {
    /// As `xz -T` writes it.
    pub(crate) fn sized(content: &[u8]) -> Self {
        Self {
            content: content.to_vec(),
            sized: true,
            dictionary: 128 << 10,
            filtered: false,
            stored: false,
            lies: None,
        }
    }

    /// Length of its packed content.
    pub(crate) fn packed_length(&self) -> u64 {
        let (unpadded, bytes) = packed(Check::None, self);
        unpadded - (u64::from(bytes[0]) + 1) * 4
    }
}

/// A stream of blocks.
pub(crate) fn xz_stream(check: Check, blocks: &[XzBlock]) -> Vec<u8> {
    let mut out = vec![0xfd, b'7', b'z', b'X', b'Z', 0];
    let flags = [0, check as u8];
    out.extend(flags);
    out.extend(crc32(&flags));
    let mut index = vec![0];
    index.extend(number(blocks.len() as u64));
    for block in blocks {
        let (unpadded, bytes) = packed(check, block);
        index.extend(number(unpadded));
        index.extend(number(block.content.len() as u64));
        out.extend(bytes);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc32(&index));
    let mut footer = (index.len() as u32 / 4 - 1).to_le_bytes().to_vec();
    footer.extend(flags);
    out.extend(index);
    out.extend(crc32(&footer));
    out.extend(footer);
    out.extend(b"YZ");
    out
}

/// Content in sized blocks of this length, as `xz -T --block-size` packs it.
pub(crate) fn xz_blocks(content: &[u8], block: usize) -> Vec<u8> {
    let blocks: Vec<_> = content.chunks(block).map(XzBlock::sized).collect();
    xz_stream(Check::Crc64, &blocks)
}

/// The block, and its length without padding.
fn packed(check: Check, block: &XzBlock) -> (u64, Vec<u8>) {
    let check_length = match check {
        Check::None => 0,
        Check::Crc32 => 4,
        Check::Crc64 => 8,
        Check::Sha256 => 32,
    };
    let (filters, body, packed) = if block.stored {
        // Dictionaries of 2^n bytes are 2n - 24.
        let mut body: Vec<u8> = block
            .content
            .chunks(64 << 10)
            .enumerate()
            .flat_map(|(number, chunk)| {
                // Only the first begins the dictionary anew: the others fill it.
                let control = if number == 0 { 1 } else { 2 };
                [&[control][..], &(chunk.len() as u16).wrapping_sub(1).to_be_bytes(), chunk].concat()
            })
            .collect();
        body.push(0);
        let packed = body.len();
        body.resize(packed.next_multiple_of(4), 0);
        assert_eq!(check_length, 0, "only without a check");
        (vec![0x21, 1, block.dictionary.ilog2() as u8 * 2 - 24], body, packed)
    } else if block.content.is_empty() {
        // The library makes no empty blocks. Zero is what both CRCs have for nothing.
        (vec![0x21, 1, 8], vec![0; 4 + check_length], 1)
    } else {
        let alone = alone(check, block);
        let footer = alone.len() - 12;
        let index =
            footer - (u32::from_le_bytes(alone[footer + 4..footer + 8].try_into().unwrap()) as usize + 1) * 4;
        let header = (usize::from(alone[12]) + 1) * 4;
        let unpadded = read_number(&alone[index + 2..]) as usize;
        let filters = if block.filtered { 2 + 3 } else { 3 };
        (
            alone[14..14 + filters].to_vec(),
            alone[12 + header..index].to_vec(),
            unpadded - header - check_length,
        )
    };
    let mut header = vec![0, u8::from(block.filtered)];
    if block.sized {
        let (says_packed, says_content) = block.lies.unwrap_or((packed as u64, block.content.len() as u64));
        header[1] |= 0xc0;
        header.extend(number(says_packed));
        header.extend(number(says_content));
    }
    header.extend(filters);
    header.resize(header.len().next_multiple_of(4), 0);
    header[0] = (header.len() / 4) as u8;
    header.extend(crc32(&header));
    ((header.len() + packed + check_length) as u64, [header, body].concat())
}

/// A stream of nothing but this block, without sizes.
fn alone(check: Check, block: &XzBlock) -> Vec<u8> {
    let mut options = LzmaOptions::new_preset(0).unwrap();
    options.dict_size(block.dictionary);
    let mut filters = Filters::new();
    if block.filtered {
        filters.x86();
    }
    filters.lzma2(&options);
    let stream = Stream::new_stream_encoder(&filters, check).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    std::io::Write::write_all(&mut encoder, &block.content).unwrap();
    encoder.finish().unwrap()
}

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn read_number(bytes: &[u8]) -> u64 {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    bytes[..=last].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}
