//! The header (specification, "Header" and "Additional fields").

use super::Qcow2Error;

const MAGIC: u32 = u32::from_be_bytes(*b"QFI\xfb");
/// All fields that are known; the header of a real image is followed by more.
pub(super) const LENGTH: usize = 112;
/// Length of the header of version 2.
const LENGTH_V2: u32 = 72;
/// Least length of the header of version 3.
const LENGTH_V3: u32 = 104;
/// QEMU's limit of an L1 table.
const LARGEST_L1: u64 = 32 << 20;

const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// Bit 0 says that reference counts may be wrong, which concerns nobody who only reads.
const UNDERSTOOD: u64 = 1 | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate.
    Zlib,
    /// A Zstandard frame.
    Zstd,
}

/// What the header says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the file.
    pub file_length: u64,
    /// Size of the disk.
    pub virtual_size: u64,
    /// A cluster has two to the power of this many bytes.
    pub cluster_bits: u32,
    /// Whether L2 entries tell of subclusters.
    pub extended_l2: bool,
    /// How clusters are compressed.
    pub compression: Compression,
    /// Where the L1 table starts.
    pub l1_offset: u64,
    /// How many of its entries the disk needs.
    pub l1_entries: u32,
}

impl Header {
    /// Parses the first bytes, as many as all known fields take, of a file of `file_length` bytes.
    pub fn parse(bytes: &[u8], file_length: u64) -> Result<Self, Qcow2Error> {
        let fields = Fields(bytes);
        if fields.u32(0) != Some(MAGIC) {
            return Err(Qcow2Error::NotQcow2);
        }
        let raw = Raw::read(&fields).ok_or(Qcow2Error::Truncated { what: "header", length: file_length })?;
        raw.check_features()?;
        let header = Self {
            file_length,
            virtual_size: raw.size,
            cluster_bits: raw.cluster_bits,
            extended_l2: raw.incompatible & EXTENDED_L2 != 0,
            compression: raw.compression()?,
            l1_offset: raw.l1_offset,
            l1_entries: 0,
        };
        header.check_geometry()?;
        let l1_entries = header.check_l1(raw.l1_size)?;
        Ok(Self { l1_entries, ..header })
    }

    /// Bytes of a cluster.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of an L2 entry.
    #[must_use]
    pub fn l2_entry(&self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Bytes of the disk that one L2 table describes.
    #[must_use]
    pub fn l2_reach(&self) -> u64 {
        self.cluster() / self.l2_entry() * self.cluster()
    }

    /// Separately allocated parts of a cluster.
    #[must_use]
    pub fn units_per_cluster(&self) -> u32 {
        if self.extended_l2 { 32 } else { 1 }
    }

    /// The smallest thing that is allocated, a cluster or a subcluster, has two to the power of this many bytes.
    #[must_use]
    pub fn unit_bits(&self) -> u32 {
        self.cluster_bits - self.units_per_cluster().ilog2()
    }

    fn check_geometry(&self) -> Result<(), Qcow2Error> {
        let smallest = if self.extended_l2 { 14 } else { 9 };
        if !(smallest..=21).contains(&self.cluster_bits) {
            return Err(Qcow2Error::Header { field: "cluster_bits", value: self.cluster_bits.into() });
        }
        if self.virtual_size == 0 || !self.virtual_size.is_multiple_of(512) {
            return Err(Qcow2Error::Header { field: "size", value: self.virtual_size });
        }
        // The map counts in units and has 32 bits for each number.
        for (field, value) in [("disk", self.virtual_size), ("file", self.file_length)] {
            if value.div_ceil(1 << self.unit_bits()) >= u64::from(u32::MAX) {
                return Err(Qcow2Error::TooLarge { field, value, cluster: self.cluster() });
            }
        }
        Ok(())
    }

    /// How many of the `declared` entries of the L1 table the disk needs. The rest belongs to the memory of a
    /// suspended machine.
    fn check_l1(&self, declared: u32) -> Result<u32, Qcow2Error> {
        let damaged = |field, value| Err(Qcow2Error::Header { field, value });
        let needed = self.virtual_size.div_ceil(self.l2_reach());
        let Ok(entries) = u32::try_from(needed) else { return damaged("size", self.virtual_size) };
        if entries > declared || u64::from(declared) * 8 > LARGEST_L1 {
            return damaged("l1_size", declared.into());
        }
        if self.l1_offset == 0 || !self.l1_offset.is_multiple_of(self.cluster()) {
            return damaged("l1_table_offset", self.l1_offset);
        }
        let end = self.l1_offset.checked_add(u64::from(entries) * 8);
        if end.is_none_or(|end| end > self.file_length) {
            return Err(Qcow2Error::Truncated { what: "L1 table", length: self.file_length });
        }
        Ok(entries)
    }
}

/// The fields as they are in the file, with those of version 3 as they are implied by version 2.
struct Raw {
    backing_file: u64,
    cluster_bits: u32,
    size: u64,
    crypt_method: u32,
    l1_size: u32,
    l1_offset: u64,
    version: u32,
    incompatible: u64,
    header_length: u32,
    compression: u8,
}

impl Raw {
    fn read(fields: &Fields<'_>) -> Option<Self> {
        let version = fields.u32(4)?;
        let mut raw = Self {
            version,
            backing_file: fields.u64(8)?,
            cluster_bits: fields.u32(20)?,
            size: fields.u64(24)?,
            crypt_method: fields.u32(32)?,
            l1_size: fields.u32(36)?,
            l1_offset: fields.u64(40)?,
            incompatible: 0,
            header_length: LENGTH_V2,
            compression: 0,
        };
        if version >= 3 {
            raw.incompatible = fields.u64(72)?;
            raw.header_length = fields.u32(100)?;
            if raw.header_length > LENGTH_V3 {
                raw.compression = fields.u8(104)?;
            }
        }
        Some(raw)
    }

    fn check_features(&self) -> Result<(), Qcow2Error> {
        if !matches!(self.version, 2 | 3) {
            return Err(Qcow2Error::Version(self.version));
        }
        if self.version == 3 && (self.header_length < LENGTH_V3 || !self.header_length.is_multiple_of(8)) {
            return Err(Qcow2Error::Header { field: "header_length", value: self.header_length.into() });
        }
        let unknown = self.incompatible & !UNDERSTOOD;
        if unknown != 0 {
            return Err(Qcow2Error::Feature(unknown.trailing_zeros()));
        }
        let refused = [
            (self.incompatible & CORRUPT != 0, "is marked as corrupt, repair it with qemu-img check -r all"),
            (self.incompatible & EXTERNAL_DATA != 0, "has its data in another file"),
            (self.backing_file != 0, "needs a backing file"),
            (self.crypt_method != 0, "is encrypted"),
        ];
        match refused.iter().find(|(applies, _)| *applies) {
            Some((_, reason)) => Err(Qcow2Error::Unsupported(reason)),
            None => Ok(()),
        }
    }

    fn compression(&self) -> Result<Compression, Qcow2Error> {
        match (self.incompatible & COMPRESSION_TYPE != 0, self.compression) {
            (false, 0) => Ok(Compression::Zlib),
            (true, 1) => Ok(Compression::Zstd),
            (_, value) => Err(Qcow2Error::Header { field: "compression_type", value: value.into() }),
        }
    }
}

/// Big-endian numbers at given places.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const LENGTH: usize>(&self, at: usize) -> Option<[u8; LENGTH]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_be_bytes)
    }
}
