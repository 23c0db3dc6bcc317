//! A UEFI machine's flash memory: the file with its variables, kept across power cycles, and the one variable
//! that a BMC changes from outside: whether Secure Boot is on.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{LabError, definition::Firmware};

const DIRECTORY: &str = "/usr/share/OVMF";
/// `SecureBootEnable` in UTF-16 with its end, as it stands in the variable store.
const NAME: &str = "SecureBootEnable\0";
/// gEfiSecureBootEnableDisableGuid.
const VENDOR: [u8; 16] =
    [0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44];
/// An authenticated variable's header.
const HEADER: usize = 60;
/// The header of the variable store, behind that of the firmware volume.
const STORE_HEADER: usize = 28;

/// The firmware's code.
pub(super) fn code(firmware: Firmware) -> Option<PathBuf> {
    match firmware {
        Firmware::SeaBios => None,
        Firmware::Ovmf => Some(Path::new(DIRECTORY).join("OVMF_CODE_4M.fd")),
        Firmware::OvmfSecureBoot => Some(Path::new(DIRECTORY).join("OVMF_CODE_4M.secboot.fd")),
    }
}

/// The machine's own variables; a fresh copy of the firmware's template when there are none yet.
pub(super) fn variables(firmware: Firmware, folder: &Path) -> Result<Option<PathBuf>, LabError> {
    let (template, name) = match firmware {
        Firmware::SeaBios => return Ok(None),
        Firmware::Ovmf => ("OVMF_VARS_4M.fd", "variables.fd"),
        Firmware::OvmfSecureBoot => ("OVMF_VARS_4M.ms.fd", "variables-secure-boot.fd"),
    };
    let own = folder.join(name);
    if !own.exists() {
        let template = Path::new(DIRECTORY).join(template);
        fs::copy(&template, &own).map_err(LabError::file("copy", &template))?;
    }
    Ok(Some(own))
}

/// Turns Secure Boot on or off in the variables of a machine that is off.
pub(super) fn set_secure_boot(variables: &Path, enabled: bool) -> Result<(), LabError> {
    let mut flash = fs::read(variables).map_err(LabError::file("read", variables))?;
    let at = find(&flash).and_then(|at| flash.get_mut(at)).ok_or_else(|| LabError::File {
        action: "find SecureBootEnable in",
        path: variables.into(),
        source: io::ErrorKind::InvalidData.into(),
    })?;
    if *at != u8::from(enabled) {
        *at = u8::from(enabled);
        fs::write(variables, flash).map_err(LabError::file("write", variables))?;
    }
    Ok(())
}

/// The position of the variable's one byte of data. A data byte of a volatile-free store carries no checksum.
fn find(flash: &[u8]) -> Option<usize> {
    let name: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut at = usize::from(u16::from_le_bytes(flash.get(0x30..0x32)?.try_into().ok()?)) + STORE_HEADER;
    let mut found = None;
    loop {
        at = at.next_multiple_of(4);
        let header = flash.get(at..at.checked_add(HEADER)?)?;
        if header.get(..2)? != [0xaa, 0x55] {
            return found;
        }
        let size = |from: usize| -> Option<usize> {
            usize::try_from(u32::from_le_bytes(header.get(from..from + 4)?.try_into().ok()?)).ok()
        };
        let data = at.checked_add(HEADER)?.checked_add(size(36)?)?;
        let live = header.get(2) == Some(&0x3f);
        if live && header.get(44..)? == VENDOR && flash.get(at + HEADER..data)? == name {
            found = Some(data);
        }
        at = data.checked_add(size(40)?)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_boot_is_switched_in_the_real_template() {
        let folder = tempfile::tempdir().unwrap();
        let file = variables(Firmware::OvmfSecureBoot, folder.path()).unwrap().unwrap();
        let before = fs::read(&file).unwrap();
        set_secure_boot(&file, false).unwrap();
        let off = fs::read(&file).unwrap();
        let changed: Vec<_> = (0..before.len()).filter(|&at| before[at] != off[at]).collect();
        assert_eq!(changed, [find(&before).unwrap()], "one byte and no other");
        set_secure_boot(&file, true).unwrap();
        assert_eq!(fs::read(&file).unwrap(), before);
    }

    #[test]
    fn variables_without_keys_have_no_switch() {
        let folder = tempfile::tempdir().unwrap();
        let file = variables(Firmware::Ovmf, folder.path()).unwrap().unwrap();
        assert!(set_secure_boot(&file, true).is_err());
    }

    #[test]
    fn a_damaged_store_is_an_error_not_a_panic() {
        let template = fs::read(Path::new(DIRECTORY).join("OVMF_VARS_4M.ms.fd")).unwrap();
        for length in [0, 0x31, 0x64, 0x90, 0x58e4 + 40, 0x58e4 + 70] {
            assert_eq!(find(&template[..length]), None, "cut at {length}");
        }
    }
}
