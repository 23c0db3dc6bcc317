//! Looks into a finished ISO, and fills its region for those who boot it without a controller's file server.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bessemer_proto::boot_parameters::{
    BootParameters, MAX_BYTES, ParameterError,
    region::{self, Region, RegionError},
};

use crate::{
    files::{FileError, at},
    iso::{self, IsoError},
};

/// Why an ISO cannot be looked into or filled.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ISO cannot be listed.
    #[error(transparent)]
    Iso(#[from] IsoError),
    /// No usable region.
    #[error("{}: {reason}", path.display())]
    Region {
        /// The ISO.
        path: PathBuf,
        /// What is wrong.
        reason: RegionError,
    },
    /// The parameters cannot be used.
    #[error("{}: {reason}", path.display())]
    Parameters {
        /// The parameters file.
        path: PathBuf,
        /// What is wrong.
        reason: ParameterError,
    },
    /// The agent would ignore part of the parameters.
    #[error("{}: {}", path.display(), warnings.join("; "))]
    Ignored {
        /// The parameters file.
        path: PathBuf,
        /// What would be ignored.
        warnings: Vec<String>,
    },
}

/// What is on an ISO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Where the parameters region is.
    pub region: Region,
    /// Whether it holds parameters.
    pub filled: bool,
    /// Size of the kernel in bytes.
    pub kernel_bytes: u64,
    /// Size of the ramdisk in bytes.
    pub initramfs_bytes: u64,
}

/// Looks into an ISO.
pub fn inspect(path: &Path) -> Result<Inspection, MediumError> {
    let file = File::open(path).map_err(at("open", path))?;
    let (region, filled) = read_region(&file, path)?;
    let extents = iso::list(path)?;
    let bytes = |name: &'static str| {
        let extent = extents.iter().find(|extent| extent.path == name);
        extent.map(|extent| extent.bytes).ok_or(IsoError::Listing(name))
    };
    Ok(Inspection {
        region,
        filled,
        kernel_bytes: bytes(iso::KERNEL)?,
        initramfs_bytes: bytes(iso::INITRAMFS)?,
    })
}

/// Writes a parameters file into an ISO's region.
pub fn set_parameters(path: &Path, parameters: &Path) -> Result<(), MediumError> {
    let text = read_parameters(parameters)?;
    let wrong = |reason| MediumError::Region { path: path.to_owned(), reason };
    let content = region::fill(&text).map_err(wrong)?;
    let file = File::options().read(true).write(true).open(path).map_err(at("open", path))?;
    let (region, _) = read_region(&file, path)?;
    file.write_all_at(&content, region.offset).map_err(at("write", path))?;
    Ok(file.sync_all().map_err(at("write", path))?)
}

fn read_parameters(path: &Path) -> Result<String, MediumError> {
    use std::io::Read as _;
    let wrong = |reason| MediumError::Parameters { path: path.to_owned(), reason };
    let file = File::open(path).map_err(at("open", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(at("read", path))?;
    let warnings = BootParameters::parse(&bytes).map_err(wrong)?.warnings;
    if !warnings.is_empty() {
        return Err(MediumError::Ignored { path: path.to_owned(), warnings });
    }
    String::from_utf8(bytes).map_err(|_| wrong(ParameterError::NotText))
}

fn read_region(file: &File, path: &Path) -> Result<(Region, bool), MediumError> {
    let wrong = |reason| MediumError::Region { path: path.to_owned(), reason };
    let length = file.metadata().map_err(at("look at", path))?.len();
    if length < region::DESCRIPTOR_OFFSET + region::DESCRIPTOR_BYTES as u64 {
        return Err(wrong(RegionError::NotIso));
    }
    let mut descriptor = vec![0; region::DESCRIPTOR_BYTES];
    file.read_exact_at(&mut descriptor, region::DESCRIPTOR_OFFSET).map_err(at("read", path))?;
    let region = Region::from_descriptor(&descriptor).map_err(wrong)?;
    if region.offset + region.length > length {
        return Err(wrong(RegionError::Damaged));
    }
    let mut content = vec![0; region::REGION_BYTES];
    file.read_exact_at(&mut content, region.offset).map_err(at("read", path))?;
    let filled = region::text(&content).map_err(wrong)?.is_some();
    Ok((region, filled))
}
