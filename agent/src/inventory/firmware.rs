//! How the ramdisk was booted.

use bessemer_proto::inventory::Boot;

use crate::{disk::sysfs, steps::Roots};

const SECURE_BOOT: &str = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

pub(super) fn collect(roots: &Roots) -> Boot {
    let uefi = roots.sys.join("firmware/efi").is_dir();
    // Four bytes of attributes, then the value.
    let secure_boot = sysfs::bytes(&roots.sys.join(SECURE_BOOT)).and_then(|value| Some(*value.get(4)? == 1));
    let command_line = sysfs::text(&roots.proc.join("cmdline")).unwrap_or_default();
    Boot {
        current_boot_mode: if uefi { "uefi" } else { "bios" }.to_owned(),
        secure_boot: secure_boot.filter(|_| uefi),
        pxe_interface: command_line.split_whitespace().find_map(|word| mac(word.strip_prefix("BOOTIF=")?)),
    }
}

/// `01-52-54-00-12-34-56`, hardware type first, or a plain address.
fn mac(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase().replace('-', ":");
    let parts: Vec<&str> = text.split(':').collect();
    let parts = if parts.len() == 7 { parts.get(1..)? } else { &parts };
    let good =
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok());
    good.then(|| parts.join(":"))
}
