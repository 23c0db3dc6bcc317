//! A UEFI machine's firmware: its code, and its flash memory with the variables, kept across power cycles. What the
//! BMC wants of the next start is written into the variables, so the firmware does with it what it does on hardware.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    LabError,
    boot::BootTarget,
    definition::{Firmware, MachineDefinition},
    efi_variables::{GLOBAL, SECURE_BOOT, Variables},
    qemu::NETWORK_SLOT,
};

const DIRECTORY: &str = "/usr/share/OVMF";
/// The lab's own boot option, and its number.
const OPTION: &str = "BootB0C0";
const OPTION_NUMBER: u16 = 0xb0c0;

/// The firmware's code.
pub(super) fn code(firmware: Firmware) -> Option<PathBuf> {
    match firmware {
        Firmware::SeaBios => None,
        Firmware::Ovmf => Some(Path::new(DIRECTORY).join("OVMF_CODE_4M.fd")),
        Firmware::OvmfSecureBoot => Some(Path::new(DIRECTORY).join("OVMF_CODE_4M.secboot.fd")),
    }
}

/// Makes the machine's variables ready for a start: a fresh copy of the firmware's template when there are none yet,
/// Secure Boot on or off, the CD or the network as the next thing to boot. A disk is put first by QEMU instead.
pub(super) fn prepare(
    machine: &MachineDefinition,
    folder: &Path,
    firmware: Firmware,
    first: Option<BootTarget>,
    secure_boot: bool,
) -> Result<Option<PathBuf>, LabError> {
    let (template, name) = match firmware {
        Firmware::SeaBios => return Ok(None),
        Firmware::Ovmf => ("OVMF_VARS_4M.fd", "variables.fd"),
        Firmware::OvmfSecureBoot => ("OVMF_VARS_4M.ms.fd", "variables-secure-boot.fd"),
    };
    let own = folder.join(name);
    let template = Path::new(DIRECTORY).join(template);
    let source = if own.exists() { &own } else { &template };
    let flash = fs::read(source).map_err(LabError::file("read", source))?;
    let mut variables = Variables { flash };
    let damaged = || LabError::File {
        action: "set variables in",
        path: own.clone(),
        source: io::ErrorKind::InvalidData.into(),
    };
    if firmware == Firmware::OvmfSecureBoot {
        let value = [u8::from(secure_boot)];
        variables.set(&SECURE_BOOT, "SecureBootEnable", &value).ok_or_else(damaged)?;
    }
    boot_next(&mut variables, first, &machine.mac).ok_or_else(damaged)?;
    fs::write(&own, variables.flash).map_err(LabError::file("write", &own))?;
    Ok(Some(own))
}

/// `BootNext` is what UEFI has for booting something once; it leaves the boot order alone.
fn boot_next(variables: &mut Variables, first: Option<BootTarget>, mac: &str) -> Option<()> {
    let path = match first {
        None | Some(BootTarget::Disk) => {
            variables.remove(&GLOBAL, "BootNext");
            variables.remove(&GLOBAL, OPTION);
            return Some(());
        }
        Some(BootTarget::Cd) => cd_path(),
        Some(BootTarget::Network) => network_path(mac)?,
    };
    // Active; the length of the path; a title; the path.
    let mut option = 1_u32.to_le_bytes().to_vec();
    option.extend(u16::try_from(path.len()).ok()?.to_le_bytes());
    option.extend("BMC\0".encode_utf16().flat_map(u16::to_le_bytes));
    option.extend(path);
    variables.set(&GLOBAL, OPTION, &option)?;
    variables.set(&GLOBAL, "BootNext", &OPTION_NUMBER.to_le_bytes())
}

/// PciRoot(0) and a function of a device on it.
fn pci_path(device: u8, function: u8) -> Vec<u8> {
    let mut path = vec![2, 1, 12, 0, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0];
    path.extend([1, 1, 6, 0, function, device]);
    path
}

/// Port 0 of the board's SATA controller.
fn cd_path() -> Vec<u8> {
    let mut path = pci_path(0x1f, 2);
    path.extend([3, 0x12, 10, 0, 0, 0, 0xff, 0xff, 0, 0]);
    path.extend(END);
    path
}

/// PXE over IPv4.
fn network_path(mac: &str) -> Option<Vec<u8>> {
    let mut path = pci_path(NETWORK_SLOT, 0);
    let mut address = hex::decode(mac.replace(':', "")).ok()?;
    address.resize(32, 0);
    path.extend([3, 0x0b, 37, 0]);
    path.extend(address);
    path.push(1);
    path.extend([3, 0x0c, 27, 0]);
    path.extend([0; 23]);
    path.extend(END);
    Some(path)
}

const END: [u8; 4] = [0x7f, 0xff, 4, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_boot_and_the_next_boot_are_set_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let machine = MachineDefinition::new("m", Firmware::OvmfSecureBoot);
        let ready = |first, secure| {
            let file = prepare(&machine, folder.path(), machine.firmware, first, secure).unwrap().unwrap();
            let variables = Variables { flash: fs::read(file).unwrap() };
            let next = variables.get(&GLOBAL, "BootNext").map(<[u8]>::to_vec);
            (next, variables.get(&SECURE_BOOT, "SecureBootEnable").map(<[u8]>::to_vec))
        };
        for target in [BootTarget::Cd, BootTarget::Network] {
            assert_eq!(ready(Some(target), false), (Some(vec![0xc0, 0xb0]), Some(vec![0])));
        }
        assert_eq!(ready(None, true), (None, Some(vec![1])));
    }

    #[test]
    fn legacy_bios_has_no_variables() {
        let machine = MachineDefinition::new("m", Firmware::SeaBios);
        let folder = tempfile::tempdir().unwrap();
        let result = prepare(&machine, folder.path(), Firmware::SeaBios, Some(BootTarget::Cd), false);
        assert_eq!(result.unwrap(), None);
    }
}
