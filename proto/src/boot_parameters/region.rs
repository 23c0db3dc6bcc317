//! The parameters region of a deploy ISO: a file of fixed size that a controller fills as it serves the ISO.
//!
//! The ISO's primary volume descriptor says where the region is, in its application-use field (ECMA-119
//! section 8.4.32, bytes 884 to 1395 of sector 16): the 16 bytes [`POINTER_MAGIC`], then offset and length in
//! bytes, both little-endian u64. The region starts with the line [`REGION_MAGIC`]; text follows; the rest is
//! filled with line feeds.

/// Marks the pointer in the application-use field.
pub const POINTER_MAGIC: &[u8; 16] = b"BESSEMER-REGION\0";
/// First bytes of the region.
pub const REGION_MAGIC: &[u8] = b"# bessemer boot parameters, version 1\n";
/// Size of the region in bytes.
pub const REGION_BYTES: usize = 64 * 1024;
/// Where the primary volume descriptor is.
pub const DESCRIPTOR_OFFSET: u64 = 16 * 2048;
/// Size of the primary volume descriptor.
pub const DESCRIPTOR_BYTES: usize = 2048;
/// Where the pointer is inside the descriptor.
pub const POINTER_OFFSET: usize = 883;

/// Where the region of an ISO is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte, from the start of the ISO.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Why an ISO's region cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegionError {
    /// Not an ISO 9660 file system.
    #[error("the medium is not ISO 9660")]
    NotIso,
    /// No pointer: not an ISO of ours.
    #[error("the ISO has no boot-parameters region: build it with bessemer-ramdisk")]
    NoRegion,
    /// The pointer makes no sense.
    #[error("the ISO's boot-parameters region is damaged")]
    Damaged,
    /// The text does not fit.
    #[error("the boot parameters take {0} bytes, more than the ISO's region holds")]
    TooLong(usize),
}

impl Region {
    /// Finds the region from the primary volume descriptor (2048 bytes at [`DESCRIPTOR_OFFSET`]).
    pub fn from_descriptor(descriptor: &[u8]) -> Result<Self, RegionError> {
        if descriptor.len() < DESCRIPTOR_BYTES || &descriptor[1..6] != b"CD001" || descriptor[0] != 1 {
            return Err(RegionError::NotIso);
        }
        let pointer = &descriptor[POINTER_OFFSET..POINTER_OFFSET + 32];
        let (magic, numbers) = pointer.split_at(16);
        if magic != POINTER_MAGIC {
            return Err(RegionError::NoRegion);
        }
        let number = |at: usize| {
            let bytes: [u8; 8] = numbers[at..at + 8].try_into().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let region = Self { offset: number(0), length: number(8) };
        let sane = region.length == REGION_BYTES as u64
            && region.offset > DESCRIPTOR_OFFSET
            && region.offset < u64::from(u32::MAX) * 2048;
        if sane { Ok(region) } else { Err(RegionError::Damaged) }
    }

    /// Writes the pointer into a primary volume descriptor.
    pub fn write_pointer(self, descriptor: &mut [u8; DESCRIPTOR_BYTES]) {
        descriptor[POINTER_OFFSET..POINTER_OFFSET + 16].copy_from_slice(POINTER_MAGIC);
        descriptor[POINTER_OFFSET + 16..POINTER_OFFSET + 24].copy_from_slice(&self.offset.to_le_bytes());
        descriptor[POINTER_OFFSET + 24..POINTER_OFFSET + 32].copy_from_slice(&self.length.to_le_bytes());
    }
}

/// The content of a region that carries `text`; empty text makes the region of a fresh ISO.
pub fn fill(text: &str) -> Result<Vec<u8>, RegionError> {
    let mut bytes = REGION_MAGIC.to_vec();
    bytes.extend_from_slice(text.as_bytes());
    if bytes.len() > REGION_BYTES {
        return Err(RegionError::TooLong(text.len()));
    }
    bytes.resize(REGION_BYTES, b'\n');
    Ok(bytes)
}

/// The text in a region, without the filling. `None` when nobody filled it.
pub fn text(bytes: &[u8]) -> Result<Option<&[u8]>, RegionError> {
    let text = bytes.strip_prefix(REGION_MAGIC).ok_or(RegionError::Damaged)?;
    let text = text.trim_ascii();
    Ok(if text.is_empty() { None } else { Some(text) })
}
