//! EFI variables as files of efivarfs: four bytes of attributes, then the value, written in one go.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::disk::ioctl;

/// Vendor GUID of the variables that the UEFI specification defines.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, for boot services and at runtime: what boot entries are.
const ATTRIBUTES: u32 = 7;
/// Firmware limits variables to some ten KiB.
const LARGEST: u64 = 1 << 20;
const BOOT_ORDER: &str = "BootOrder";

/// Why variables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    /// Listing failed.
    #[error("the EFI variables in {} cannot be listed", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Reading failed.
    #[error("the EFI variable {name} cannot be read")]
    Read {
        /// The variable.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("the EFI variable {name} cannot be written: the firmware may be full or locked")]
    Write {
        /// The variable.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Removing failed.
    #[error("the EFI variable {name} cannot be removed")]
    Remove {
        /// The variable.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Every number is taken.
    #[error("all 65536 boot entries are in use")]
    Full,
}

/// The variables below one folder.
#[derive(Clone, Debug)]
pub struct Variables {
    folder: PathBuf,
}

/// Name of boot entry `number`, such as `Boot001A`.
#[must_use]
pub fn entry_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

impl Variables {
    /// The variables of efivarfs mounted at `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Value of a global variable; `None` when there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VariableError> {
        let error = |source| VariableError::Read { name: name.to_owned(), source };
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(error(source)),
        };
        let mut content = Vec::new();
        file.take(LARGEST).read_to_end(&mut content).map_err(error)?;
        // A variable that was just removed reads as empty.
        Ok(content.get(4..).map(<[u8]>::to_vec))
    }

    /// Numbers of all boot entries, ascending.
    pub fn entries(&self) -> Result<Vec<u16>, VariableError> {
        let error = |source| VariableError::List { path: self.folder.clone(), source };
        let mut numbers = Vec::new();
        for file in std::fs::read_dir(&self.folder).map_err(error)? {
            let name = file.map_err(error)?.file_name();
            numbers.extend(name.to_str().and_then(entry_number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Writes a boot entry.
    pub fn write_entry(&self, number: u16, option: &[u8]) -> Result<(), VariableError> {
        self.write(&entry_name(number), option)
    }

    /// Removes a boot entry.
    pub fn remove_entry(&self, number: u16) -> Result<(), VariableError> {
        let name = entry_name(number);
        let error = |source| VariableError::Remove { name: name.clone(), source };
        let path = self.path(&name);
        self.make_mutable(&path).map_err(error)?;
        std::fs::remove_file(path).map_err(error)
    }

    /// The entries in the order the firmware tries them.
    pub fn boot_order(&self) -> Result<Vec<u16>, VariableError> {
        let value = self.read(BOOT_ORDER)?.unwrap_or_default();
        Ok(value.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    /// Sets the order; nothing is written when it is that already.
    pub fn set_boot_order(&self, order: &[u16]) -> Result<(), VariableError> {
        if self.boot_order()? == order {
            return Ok(());
        }
        let value: Vec<u8> = order.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.write(BOOT_ORDER, &value)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{GLOBAL}"))
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), VariableError> {
        let path = self.path(name);
        let write = || {
            self.make_mutable(&path)?;
            let mut content = ATTRIBUTES.to_le_bytes().to_vec();
            content.extend_from_slice(value);
            // efivarfs takes a value in one write; the truncation that opening with O_TRUNC does is ignored there.
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
            let count = file.write(&content)?;
            if count == content.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        };
        write().map_err(|source| VariableError::Write { name: name.to_owned(), source })
    }

    /// efivarfs marks what a careless removal could brick a machine with.
    fn make_mutable(&self, path: &Path) -> io::Result<()> {
        match File::open(path) {
            Ok(file) => ioctl::clear_immutable(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The number in a file name such as `Boot001A-8be4df61-…`.
fn entry_number(file: &str) -> Option<u16> {
    let digits = file.strip_prefix("Boot")?.strip_suffix(GLOBAL)?.strip_suffix('-')?;
    let good = digits.len() == 4
        && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    good.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}
