//! The bmap form (`bmaptool`): XML, versions 1.4 and 2.x, which are the same.

mod read;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Manifest, ManifestError, Range};

/// What we write; any size is read.
const BLOCK: u64 = 4096;

/// What the XML says, before anything is believed.
#[derive(Default)]
struct Bmap {
    image_size: Option<u64>,
    block_size: Option<u64>,
    blocks_count: Option<u64>,
    mapped_blocks_count: Option<u64>,
    checksum_type: Option<String>,
    file_checksum: Option<String>,
    ranges: Vec<Blocks>,
}

/// A range, in blocks, both ends included.
struct Blocks {
    first: u64,
    last: u64,
    sha256: [u8; 32],
}

/// `bytes` are the file as it came: its own checksum covers them all.
pub(super) fn parse(text: &str, bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let bmap = read::read(text)?;
    needed(bmap.checksum_type.as_deref(), "ChecksumType")?;
    check_file(bytes, needed(bmap.file_checksum.as_deref(), "BmapFileChecksum")?)?;
    let image_bytes = needed(bmap.image_size, "ImageSize")?;
    let block = needed(bmap.block_size, "BlockSize")?;
    let blocks = needed(bmap.blocks_count, "BlocksCount")?;
    let mapped = needed(bmap.mapped_blocks_count, "MappedBlocksCount")?;
    if block == 0 || image_bytes.div_ceil(block) != blocks {
        return Err(wrong(format!(
            "contradicts itself: {blocks} blocks of {block} bytes are not an image of {image_bytes}"
        )));
    }
    let mut total: u64 = 0;
    let mut ranges = Vec::with_capacity(bmap.ranges.len());
    for Blocks { first, last, sha256 } in bmap.ranges {
        if last < first || last >= blocks {
            return Err(wrong(format!("has blocks {first}-{last} in an image of {blocks} blocks")));
        }
        // Cannot overflow: inside the image.
        let (offset, end) = (first.saturating_mul(block), (last + 1).saturating_mul(block).min(image_bytes));
        total = total.saturating_add(last - first + 1);
        ranges.push(Range { offset, length: end.saturating_sub(offset), sha256 });
    }
    if total != mapped {
        return Err(wrong(format!("contradicts itself: its ranges have {total} blocks, it says {mapped}")));
    }
    Ok(Manifest { image_bytes, image_digest: None, ranges })
}

pub(super) fn write(manifest: &Manifest) -> Result<String, ManifestError> {
    manifest.check()?;
    let mut rows = String::new();
    let mut mapped: u64 = 0;
    for (index, range) in manifest.ranges.iter().enumerate() {
        let (first, last) = blocks_of(range, manifest.image_bytes)
            .ok_or(ManifestError::Blocks { index, offset: range.offset })?;
        mapped += last - first + 1;
        let hex = hex::encode(range.sha256);
        // Writing into a String cannot fail.
        match first == last {
            true => writeln!(rows, "        <Range chksum=\"{hex}\"> {first} </Range>").ok(),
            false => writeln!(rows, "        <Range chksum=\"{hex}\"> {first}-{last} </Range>").ok(),
        };
    }
    let head = format!(
        "<?xml version=\"1.0\" ?>\n\
         <!-- Made by Bessemer. The checksum of this file is of the file with zeros in its place. -->\n\
         <bmap version=\"2.0\">\n    \
             <ImageSize> {} </ImageSize>\n    \
             <BlockSize> {BLOCK} </BlockSize>\n    \
             <BlocksCount> {} </BlocksCount>\n    \
             <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
             <ChecksumType> sha256 </ChecksumType>\n    \
             <BmapFileChecksum> ",
        manifest.image_bytes,
        manifest.image_bytes.div_ceil(BLOCK),
    );
    let tail = format!(" </BmapFileChecksum>\n    <BlockMap>\n{rows}    </BlockMap>\n</bmap>\n");
    let checksum = hex::encode(file_checksum(head.as_bytes(), tail.as_bytes()));
    Ok(format!("{head}{checksum}{tail}"))
}

/// First and last block of a range that is made of whole blocks, the image's last one cut.
fn blocks_of(range: &Range, image_bytes: u64) -> Option<(u64, u64)> {
    let end = range.offset.checked_add(range.length)?;
    let is_whole = range.offset.is_multiple_of(BLOCK) && (end.is_multiple_of(BLOCK) || end == image_bytes);
    is_whole.then_some((range.offset / BLOCK, end.checked_sub(1)? / BLOCK))
}

/// As `bmaptool` checks it: the first occurrence of the checksum is what is replaced by zeros.
fn check_file(bytes: &[u8], expected: &str) -> Result<(), ManifestError> {
    let is_hex = expected.len() == 64 && expected.bytes().all(|byte| byte.is_ascii_hexdigit());
    let place = bytes.windows(64).position(|window| is_hex && window == expected.as_bytes());
    let parts = place.and_then(|at| Some((bytes.get(..at)?, bytes.get(at.checked_add(64)?..)?)));
    let Some((head, tail)) = parts else {
        return Err(wrong("has a BmapFileChecksum that is no SHA-256".to_owned()));
    };
    let got = hex::encode(file_checksum(head, tail));
    if !got.eq_ignore_ascii_case(expected) {
        return Err(wrong(format!(
            "is damaged: its bytes hash to {got}, its BmapFileChecksum is {expected}. Copy or make it anew"
        )));
    }
    Ok(())
}

fn file_checksum(head: &[u8], tail: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(head).chain_update([b'0'; 64]).chain_update(tail).finalize().into()
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T, ManifestError> {
    value.ok_or_else(|| wrong(format!("has no {name}: make it with bmaptool 3.1 or later")))
}

fn wrong(problem: String) -> ManifestError {
    ManifestError::Bmap(problem)
}
