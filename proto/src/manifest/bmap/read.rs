//! From XML events to [`Bmap`]. Only what `bmaptool` writes: no document types, entities or other elements.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use super::{Blocks, Bmap, ManifestError, wrong};
use crate::manifest::MAX_RANGES;

/// The longest text of an element: a checksum of 512 bits in hexadecimal, with space around it.
const MAX_TEXT: usize = 256;

/// Where the reader is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Start,
    Bmap,
    BlockMap,
    Field(Field),
    Range([u8; 32]),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    ImageSize,
    BlockSize,
    BlocksCount,
    MappedBlocksCount,
    ChecksumType,
    FileChecksum,
}

struct State {
    place: Place,
    /// Of the element being read.
    text: String,
    bmap: Bmap,
}

pub(super) fn read(text: &str) -> Result<Bmap, ManifestError> {
    let mut reader = Reader::from_str(text);
    let mut state = State { place: Place::Start, text: String::new(), bmap: Bmap::default() };
    loop {
        let event = reader
            .read_event()
            .map_err(|source| ManifestError::Xml { position: reader.error_position(), source })?;
        match event {
            Event::Start(element) => state.enter(&element)?,
            // bmaptool writes none; as the element without text it is refused where it ends.
            Event::Empty(element) => {
                state.enter(&element)?;
                state.leave()?;
            }
            Event::End(_) => state.leave()?,
            Event::Text(piece) => state.add(&piece.xml10_content())?,
            Event::Comment(_) | Event::Decl(_) => {}
            Event::DocType(_) => return Err(wrong("has a document type, which no bmap has".to_owned())),
            Event::GeneralRef(_) | Event::CData(_) | Event::PI(_) => {
                return Err(wrong("has an entity, CDATA or instruction, which no bmap has".to_owned()));
            }
            Event::Eof if state.place == Place::End => return Ok(state.bmap),
            Event::Eof => return Err(wrong("is cut off: copy or make it anew".to_owned())),
        }
    }
}

// === impl State ===

impl State {
    fn enter(&mut self, element: &BytesStart<'_>) -> Result<(), ManifestError> {
        let tag = element.name();
        let name: &str = tag.as_ref();
        self.text.clear();
        self.place = match (self.place, name) {
            (Place::Start, "bmap") => {
                check_version(&attribute(element, "version")?.unwrap_or_default())?;
                Place::Bmap
            }
            (Place::Bmap, "BlockMap") => Place::BlockMap,
            (Place::BlockMap, "Range") => Place::Range(digest(attribute(element, "chksum")?)?),
            (Place::Bmap, _) => Place::Field(Field::named(name).ok_or_else(|| unexpected(name))?),
            _ => return Err(unexpected(name)),
        };
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ManifestError> {
        let text = self.text.trim();
        self.place = match self.place {
            Place::Range(sha256) => {
                if self.bmap.ranges.len() >= MAX_RANGES {
                    return Err(ManifestError::TooManyRanges(self.bmap.ranges.len() + 1));
                }
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                self.bmap.ranges.push(Blocks { first: number(first)?, last: number(last)?, sha256 });
                Place::BlockMap
            }
            Place::Field(field) => {
                field.store(text, &mut self.bmap)?;
                Place::Bmap
            }
            Place::BlockMap => Place::Bmap,
            Place::Bmap | Place::Start | Place::End => Place::End,
        };
        self.text.clear();
        Ok(())
    }

    fn add(&mut self, piece: &str) -> Result<(), ManifestError> {
        match self.place {
            Place::Field(_) | Place::Range(_) if self.text.len() + piece.len() <= MAX_TEXT => {
                self.text.push_str(piece);
                Ok(())
            }
            Place::Field(_) | Place::Range(_) => Err(wrong("has an element with too much text".to_owned())),
            _ if piece.trim().is_empty() => Ok(()),
            _ => Err(wrong("has text between its elements".to_owned())),
        }
    }
}

// === impl Field ===

impl Field {
    fn named(name: &str) -> Option<Self> {
        match name {
            "ImageSize" => Some(Self::ImageSize),
            "BlockSize" => Some(Self::BlockSize),
            "BlocksCount" => Some(Self::BlocksCount),
            "MappedBlocksCount" => Some(Self::MappedBlocksCount),
            "ChecksumType" => Some(Self::ChecksumType),
            "BmapFileChecksum" => Some(Self::FileChecksum),
            _ => None,
        }
    }

    fn store(self, text: &str, bmap: &mut Bmap) -> Result<(), ManifestError> {
        let is_second = match self {
            Self::ImageSize => bmap.image_size.replace(number(text)?).is_some(),
            Self::BlockSize => bmap.block_size.replace(number(text)?).is_some(),
            Self::BlocksCount => bmap.blocks_count.replace(number(text)?).is_some(),
            Self::MappedBlocksCount => bmap.mapped_blocks_count.replace(number(text)?).is_some(),
            Self::ChecksumType if text != "sha256" => {
                return Err(wrong(format!(
                    "has {} digests, only sha256 is accepted: make it with `bmaptool create`",
                    shorten(text)
                )));
            }
            Self::ChecksumType => bmap.checksum_type.replace(text.to_owned()).is_some(),
            Self::FileChecksum => bmap.file_checksum.replace(text.to_owned()).is_some(),
        };
        if is_second {
            return Err(wrong(format!("says {self:?} twice")));
        }
        Ok(())
    }
}

/// 1.4 is 2.0 under a mistaken number.
fn check_version(text: &str) -> Result<(), ManifestError> {
    let version = text.trim().split_once('.').and_then(|(major, minor)| {
        let major: u32 = major.parse().ok()?;
        Some((major, minor.parse::<u32>().ok()?))
    });
    match version {
        Some((2, _) | (1, 4)) => Ok(()),
        Some((1, 3)) => Err(wrong(
            "has version 1.3, whose digests are SHA-1 and prove nothing: make it with bmaptool 3.1 or later"
                .to_owned(),
        )),
        Some((0, _) | (1, 0..=2)) => Err(wrong(format!(
            "has version {}, which has no digests: make it with bmaptool 3.1 or later",
            shorten(text)
        ))),
        _ => Err(wrong(format!("has version \"{}\", known are 1.4 and 2.0", shorten(text)))),
    }
}

/// Takes time in proportion to the attributes: names are not compared with each other.
fn attribute(element: &BytesStart<'_>, wanted: &str) -> Result<Option<String>, ManifestError> {
    let mut found = None;
    for attribute in element.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| wrong("has a broken attribute".to_owned()))?;
        let name: &str = attribute.key.as_ref();
        if name != wanted {
            return Err(unexpected(name));
        }
        let value: &str = attribute.value.as_ref();
        if found.is_some() || value.len() > MAX_TEXT {
            return Err(wrong(format!("has the attribute {wanted} twice or too long")));
        }
        found = Some(value.to_owned());
    }
    Ok(found)
}

fn digest(text: Option<String>) -> Result<[u8; 32], ManifestError> {
    let text = text.ok_or_else(|| {
        wrong("has a range without chksum: make it with bmaptool, without --no-checksum".to_owned())
    })?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes)
        .map_err(|_| wrong("has a range whose chksum is no SHA-256".to_owned()))?;
    Ok(bytes)
}

/// Digits only: `str::parse` would take a sign.
fn number(text: &str) -> Result<u64, ManifestError> {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| wrong(format!("has \"{}\" where a number is needed", shorten(text))))
}

fn unexpected(name: &str) -> ManifestError {
    wrong(format!("has \"{}\" where bmap 2.0 has nothing of that name", shorten(name)))
}

/// What others wrote, short enough for a message.
fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}
