//! Entries of L1 and L2 tables (specification, "Cluster mapping" and "Extended L2 Entries").

use super::header::Header;

/// Bits 9 to 55: an offset in the file.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros; without subclusters only.
const ZERO: u64 = 1;

/// What an L2 entry says of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// All zeros.
    Zero,
    /// Data at this byte of the file. Bit n stands for unit n of the cluster; units without their bit are zeros.
    Data { host: u64, units: u32 },
    /// Compressed data.
    Packed(Descriptor),
}

/// Where an L1 entry says that its L2 table is; `None` when there is none. The error is the reason.
pub(super) fn l1(entry: u64, header: &Header) -> Result<Option<u64>, &'static str> {
    if entry & !(OFFSET | COPIED) != 0 {
        return Err("has reserved bits set");
    }
    let offset = entry & OFFSET;
    if offset == 0 {
        return Ok(None);
    }
    if !offset.is_multiple_of(header.cluster()) {
        return Err("points between two clusters");
    }
    // No overflow: offsets have 56 bits.
    if offset + header.cluster() > header.file_length {
        return Err("points outside the file");
    }
    Ok(Some(offset))
}

/// What an L2 entry says; `bitmap` is the second half of an extended one. The error is the reason.
pub(super) fn l2(entry: u64, bitmap: u64, header: &Header) -> Result<Mapping, &'static str> {
    if entry & COMPRESSED != 0 {
        return packed(entry, header);
    }
    let zero_flag = if header.extended_l2 { 0 } else { ZERO };
    if entry & !(OFFSET | COPIED | zero_flag) != 0 {
        return Err("has reserved bits set");
    }
    let (allocated, zeros) = (bitmap as u32, (bitmap >> 32) as u32);
    if allocated & zeros != 0 {
        return Err("has subclusters that are both data and zeros");
    }
    let host = entry & OFFSET;
    if !host.is_multiple_of(header.cluster()) {
        return Err("points between two clusters");
    }
    let units = match (header.extended_l2, entry & zero_flag != 0, host) {
        (true, _, _) => allocated,
        (false, true, _) | (false, false, 0) => 0,
        (false, false, _) => 1,
    };
    if host == 0 && (units != 0 || entry & COPIED != 0) {
        return Err("has data at the start of the file");
    }
    if units == 0 {
        return Ok(Mapping::Zero);
    }
    // The last unit may be cut short by the end of the file; it goes on with zeros.
    let last = u64::from(units.ilog2()) << header.unit_bits();
    if host + last >= header.file_length {
        return Err("points outside the file");
    }
    Ok(Mapping::Data { host, units })
}

fn packed(entry: u64, header: &Header) -> Result<Mapping, &'static str> {
    if entry & COPIED != 0 {
        return Err("has reserved bits set");
    }
    let descriptor = Descriptor(entry & !COMPRESSED);
    if descriptor.start(header.cluster_bits) >= header.file_length {
        return Err("points outside the file");
    }
    Ok(Mapping::Packed(descriptor))
}

/// A compressed cluster descriptor: an offset in the lower bits, a number of sectors in the upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor(pub(super) u64);

impl Descriptor {
    /// First byte in the file.
    pub(super) fn start(self, cluster_bits: u32) -> u64 {
        self.0 & ((1 << offset_bits(cluster_bits)) - 1)
    }

    /// End of the last sector that the data may reach into.
    pub(super) fn end(self, cluster_bits: u32) -> u64 {
        let more_sectors = self.0 >> offset_bits(cluster_bits);
        // No overflow: at most 2^61 and 2^13 sectors of 512 bytes.
        (self.start(cluster_bits) & !511) + (more_sectors + 1) * 512
    }
}

fn offset_bits(cluster_bits: u32) -> u32 {
    62 - (cluster_bits - 8)
}
