//! Finds the boot parameters: on a FAT medium, in the region of the deploy ISO, on the kernel command line, in
//! this order of trust.
//!
//! Only media that a BMC or a person can insert are looked at (floppies, optical drives, removable and USB
//! disks): what a former tenant left on an internal disk must not choose this machine's controller.

mod block;
mod fat;
mod iso;
mod medium;
mod search;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use bessemer_proto::boot_parameters::{BootParameters, MAX_BYTES, MEDIUM_LABEL, ParameterError, Parsed};

pub use search::{Patience, find};

/// Where boot parameters were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A FAT medium.
    Medium(PathBuf),
    /// The region of the deploy ISO.
    Iso(PathBuf),
    /// The kernel command line.
    CommandLine,
    /// A file named by the operator.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Medium(device) => write!(f, "the medium {MEDIUM_LABEL} in {}", device.display()),
            Self::Iso(device) => write!(f, "the deploy ISO in {}", device.display()),
            Self::CommandLine => f.write_str("the kernel command line"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why there are no boot parameters.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing was found anywhere.
    #[error(
        "no boot parameters were found within {seconds} s: no removable medium labelled {MEDIUM_LABEL}, \
         no deploy ISO that a controller filled in, nothing on the kernel command line; \
         boot the medium that the controller makes"
    )]
    Nothing {
        /// How long it was tried.
        seconds: u64,
    },
    /// Something was found and cannot be used.
    #[error("the boot parameters on {source_name} cannot be used")]
    Unusable {
        /// Where.
        source_name: Source,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// A file for an ordinary process has odd content.
    #[error("the boot parameters in {} are refused: {}", path.display(), warnings.join("; "))]
    Warnings {
        /// The file.
        path: PathBuf,
        /// What is odd.
        warnings: Vec<String>,
    },
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("reading failed")]
    Io(#[from] io::Error),
    /// The reader broke on what it read.
    #[error("the medium's file system is damaged")]
    Damaged,
    /// The text is wrong.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
}

/// Boot parameters and where they were.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where.
    pub source: Source,
    /// What.
    pub parsed: Parsed,
}

/// Reads the parameters file of an ordinary process. What a ramdisk would only log is refused here: an operator
/// sits before it.
pub fn from_file(path: &Path) -> Result<BootParameters, FindError> {
    let unusable = |source| FindError::Unusable { source_name: Source::File(path.to_owned()), source };
    let bytes = std::fs::File::open(path)
        .and_then(|file| medium::read_bounded(file, MAX_BYTES + 1))
        .map_err(|source| unusable(source.into()))?;
    let parsed = BootParameters::parse(&bytes).map_err(|source| unusable(source.into()))?;
    if parsed.warnings.is_empty() {
        Ok(parsed.parameters)
    } else {
        Err(FindError::Warnings { path: path.to_owned(), warnings: parsed.warnings })
    }
}

#[cfg(test)]
mod tests;
