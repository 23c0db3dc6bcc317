//! Boot media without an operating system: they say a word on the serial console and do one thing.

use std::{fs, path::Path, process::Command};

/// What a medium does after its word.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    PowerOff,
    Reset,
    Halt,
}

/// A boot sector for BIOS, hand-assembled for 0x7c00.
pub(crate) fn boot_sector(word: &str, then: Then) -> Vec<u8> {
    let mut code = vec![
        0xfa, // cli
        0x31, 0xc0, 0x8e, 0xd8, 0xfc, // xor ax,ax; mov ds,ax; cld
        0xbe, 0, 0, // mov si, word
        0xac, 0x84, 0xc0, 0x74, 0x12, // next: lodsb; test al,al; jz done
        0x88, 0xc4, 0xba, 0xfd, 0x03, // mov ah,al; mov dx,0x3fd
        0xec, 0xa8, 0x20, 0x74, 0xfb, // busy: in al,dx; test al,0x20; jz busy
        0xba, 0xf8, 0x03, 0x88, 0xe0, 0xee, // mov dx,0x3f8; mov al,ah; out dx,al
        0xeb, 0xe9, // jmp next
    ];
    match then {
        Then::PowerOff => code.extend([0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef]), // ACPI S5 on q35
        Then::Reset => code.extend([0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]),
        Then::Halt => {}
    }
    code.extend([0xf4, 0xeb, 0xfd]); // hlt; jmp hlt
    let at = 0x7c00 + u16::try_from(code.len()).unwrap();
    code[7..9].copy_from_slice(&at.to_le_bytes());
    code.extend(word.bytes().chain([0]));
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    code
}

/// An ISO that BIOS boots.
pub(crate) fn bios_iso(path: &Path, word: &str, then: Then) {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("boot.bin"), boot_sector(word, then)).unwrap();
    let boot = ["-b", "boot.bin", "-no-emul-boot", "-boot-load-size", "4"];
    make_iso(path, tree.path(), &boot);
}

/// An ISO that UEFI boots, with Secure Boot too: shim and GRUB as Debian signed them.
pub(crate) fn uefi_iso(path: &Path, word: &str, then: Then) {
    let tree = tempfile::tempdir().unwrap();
    let grub = tree.path().join("boot/grub");
    fs::create_dir_all(&grub).unwrap();
    fs::create_dir(tree.path().join(".disk")).unwrap();
    // By this file GRUB's CD build finds its medium.
    fs::write(tree.path().join(".disk/info"), "lab").unwrap();
    let last = match then {
        Then::PowerOff => "halt",
        Then::Reset => "reboot",
        Then::Halt => "sleep 10000",
    };
    let config = format!("serial --unit=0 --speed=115200\nterminal_output serial\necho \"{word}\"\n{last}\n");
    fs::write(grub.join("grub.cfg"), config).unwrap();
    let system_partition = grub.join("efi.img");
    fs::File::create(&system_partition).unwrap().set_len(8 << 20).unwrap();
    run(Command::new("mformat").arg("-i").arg(&system_partition).arg("::"));
    run(Command::new("mmd").arg("-i").arg(&system_partition).args(["::/EFI", "::/EFI/BOOT"]));
    for (from, to) in [
        ("/usr/lib/shim/shimx64.efi.signed", "BOOTX64.EFI"),
        ("/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed", "grubx64.efi"),
    ] {
        run(Command::new("mcopy")
            .arg("-i")
            .arg(&system_partition)
            .arg(from)
            .arg(format!("::/EFI/BOOT/{to}")));
    }
    make_iso(path, tree.path(), &["-e", "boot/grub/efi.img", "-no-emul-boot"]);
}

fn make_iso(path: &Path, tree: &Path, boot: &[&str]) {
    run(Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-R", "-o"])
        .arg(path)
        .args(boot)
        .arg(tree));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
