//! The parameters region of a deploy ISO.

use std::io::{self, Read, Seek, SeekFrom};

use bessemer_proto::boot_parameters::region::{
    self, DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, REGION_BYTES, Region, RegionError,
};

/// The text of the region; `None` when the medium is no deploy ISO or nobody filled its region.
pub(super) fn read(mut medium: impl Read + Seek) -> io::Result<Option<Vec<u8>>> {
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    if !read_at(&mut medium, DESCRIPTOR_OFFSET, &mut descriptor)? {
        return Ok(None);
    }
    let region = match Region::from_descriptor(&descriptor) {
        Ok(region) => region,
        Err(RegionError::NotIso | RegionError::NoRegion) => return Ok(None),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let mut bytes = vec![0; REGION_BYTES];
    if !read_at(&mut medium, region.offset, &mut bytes)? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, RegionError::Damaged));
    }
    let text = region::text(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(text.map(<[u8]>::to_vec))
}

/// False when the medium is too short.
fn read_at(medium: &mut (impl Read + Seek), offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
    medium.seek(SeekFrom::Start(offset))?;
    match medium.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
