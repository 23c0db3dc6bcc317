use std::{os::unix::fs::PermissionsExt, path::Path};

use proptest::prelude::*;

use super::*;
use crate::test_support::{
    disks::{ESP_GUID, TestDisk},
    esp::{DEBIAN, disk_with, open, partition, read},
};

const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// A folder that plays efivarfs.
struct Vars(tempfile::TempDir);

impl Vars {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn variables(&self) -> Variables {
        Variables::new(self.0.path())
    }

    fn put(&self, name: &str, value: &[u8]) {
        let content = [&7_u32.to_le_bytes()[..], value].concat();
        std::fs::write(self.0.path().join(format!("{name}-{GLOBAL}")), content).unwrap();
    }

    fn order(&self) -> Vec<u16> {
        self.variables().boot_order().unwrap()
    }

    fn entries(&self) -> Vec<u16> {
        self.variables().entries().unwrap()
    }
}

fn run(
    disk: &TestDisk,
    vars: &Path,
    label: Option<&str>,
) -> (Result<SetBootEntryResult, BootEntryError>, Vec<String>) {
    let file = open(disk);
    let disk = BootDisk { name: "/dev/sdz".into(), file: &file, esp: partition(&file) };
    let variables = Variables::new(vars);
    let known = [ESP_GUID, *b"another-disk-esp"].into_iter().collect();
    let firmware = Firmware { variables: &variables, partitions: Some(known) };
    let mut warnings = Vec::new();
    let result = set(&disk, &firmware, label, &mut |warning| warnings.push(warning));
    (result, warnings)
}

fn entry(label: &str, guid: &[u8; 16]) -> Vec<u8> {
    let partition =
        Partition { number: 1, guid: *guid, first_lba: 1, sectors: 1, sector: 512, efi_system: true };
    load_option::encode(label, &partition, r"\EFI\old\old.efi", "")
}

#[test]
fn the_entry_of_the_image_is_made_and_comes_first() {
    let (disk, vars) = (disk_with(&DEBIAN), Vars::new());
    vars.put("Boot0000", &entry("UEFI PXE", b"another-disk-esp"));
    vars.put("Boot0002", &entry("something", b"another-disk-esp"));
    vars.put("BootOrder", &[2, 0, 0, 0]);
    let (result, warnings) = run(&disk, vars.0.path(), Some("not used"));
    let result = result.unwrap();
    assert_eq!(result.method, BootEntryMethod::UefiEntry);
    assert_eq!(result.loader.as_deref(), Some(r"\EFI\debian\shimx64.efi"));
    assert_eq!((result.entry.as_deref(), result.label.as_deref()), (Some("Boot0001"), Some("debian")));
    assert_eq!(vars.order(), [1, 2, 0]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let file = open(&disk);
    let option = vars.variables().read("Boot0001").unwrap().unwrap();
    assert_eq!(option, load_option::encode("debian", &partition(&file), r"\EFI\debian\shimx64.efi", ""));
    // The removable path is not touched when it is not needed.
    assert_eq!(read(&disk, "EFI/BOOT/BOOTX64.EFI"), None);

    // A second run changes nothing.
    let (result, _) = run(&disk, vars.0.path(), None);
    assert_eq!(result.unwrap().entry.as_deref(), Some("Boot0001"));
    assert_eq!((vars.entries(), vars.order()), (vec![0, 1, 2], vec![1, 2, 0]));
}

#[test]
fn stale_entries_of_the_same_label_go_and_others_stay() {
    let (disk, vars) = (disk_with(&DEBIAN), Vars::new());
    vars.put("Boot0000", &entry("debian", &ESP_GUID));
    vars.put("Boot0001", &entry("debian", b"a-vanished-disk!"));
    vars.put("Boot0002", &entry("debian", b"another-disk-esp"));
    vars.put("Boot0003", &entry("Windows", b"a-vanished-disk!"));
    vars.put("Boot0004", b"garbage");
    vars.put("BootOrder", &[0, 0, 1, 0, 3, 0, 2, 0]);
    let (result, _) = run(&disk, vars.0.path(), None);
    assert_eq!(result.unwrap().entry.as_deref(), Some("Boot0000"));
    assert_eq!(vars.entries(), [0, 2, 3, 4]);
    assert_eq!(vars.order(), [0, 3, 2]);
}

#[test]
fn without_csv_a_known_loader_is_taken_and_without_that_the_removable_path() {
    for (files, loader, label) in [
        (vec![("EFI/acme/grubx64.efi", &b"g"[..])], r"\EFI\acme\grubx64.efi", "acme"),
        (
            vec![("EFI/acme/shimx64.efi", b"s"), ("EFI/acme/grubx64.efi", b"g")],
            r"\EFI\acme\shimx64.efi",
            "acme",
        ),
        (vec![("EFI/systemd/systemd-bootx64.efi", b"s")], r"\EFI\systemd\systemd-bootx64.efi", "systemd"),
        (vec![("EFI/Microsoft/Boot/bootmgfw.efi", b"w")], r"\EFI\Microsoft\Boot\bootmgfw.efi", "Microsoft"),
        (vec![("EFI/BOOT/BOOTX64.EFI", b"r")], r"\EFI\BOOT\BOOTX64.EFI", "node-7"),
        // A CSV whose loader is missing is not followed.
        (vec![DEBIAN[3], ("EFI/debian/grubx64.efi", b"g")], r"\EFI\debian\grubx64.efi", "debian"),
    ] {
        let (disk, vars) = (disk_with(&files), Vars::new());
        let result = run(&disk, vars.0.path(), Some("node-7")).0.unwrap();
        assert_eq!((result.loader.as_deref(), result.label.as_deref()), (Some(loader), Some(label)));
    }
}

#[test]
fn firmware_that_takes_no_variable_gets_the_removable_path() {
    let missing = Path::new("/nonexistent/efivars");
    let disk = disk_with(&DEBIAN);
    let (result, warnings) = run(&disk, missing, None);
    let result = result.unwrap();
    assert_eq!(result.method, BootEntryMethod::RemovablePath);
    assert_eq!(result.loader.as_deref(), Some(r"\EFI\BOOT\BOOTX64.EFI"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("No such file"), "{warnings:?}");
    assert_eq!(read(&disk, "EFI/BOOT/BOOTX64.EFI").as_deref(), Some(&b"shim"[..]));
    assert_eq!(read(&disk, "EFI/BOOT/grubx64.efi").as_deref(), Some(&b"grub"[..]));
    assert_eq!(read(&disk, "EFI/BOOT/mmx64.efi").as_deref(), Some(&b"mok manager"[..]));

    // One that is there is left alone.
    let disk = disk_with(&[&DEBIAN[..], &[("EFI/BOOT/BOOTX64.EFI", b"mine")]].concat());
    assert_eq!(run(&disk, missing, None).0.unwrap().method, BootEntryMethod::RemovablePath);
    assert_eq!(read(&disk, "EFI/BOOT/BOOTX64.EFI").as_deref(), Some(&b"mine"[..]));

    // shim without its second stage would not boot from there.
    let disk = disk_with(&DEBIAN[..1]);
    assert!(matches!(run(&disk, missing, None).0, Err(BootEntryError::Removable { source: None, .. })));
}

#[test]
fn an_order_that_cannot_be_written_leaves_no_entry_behind() {
    let (disk, vars) = (disk_with(&DEBIAN), Vars::new());
    // A folder in the variable's place refuses reading and writing, for root too.
    std::fs::create_dir(vars.0.path().join(format!("BootOrder-{GLOBAL}"))).unwrap();
    let (result, warnings) = run(&disk, vars.0.path(), None);
    assert_eq!(result.unwrap().method, BootEntryMethod::RemovablePath);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(vars.entries().is_empty(), "{:?}", vars.entries());
}

#[test]
fn read_only_variables_are_no_failure_for_people_without_root() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("skipped: root writes to read-only folders");
        return;
    }
    let (disk, vars) = (disk_with(&DEBIAN), Vars::new());
    std::fs::set_permissions(vars.0.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(run(&disk, vars.0.path(), None).0.unwrap().method, BootEntryMethod::RemovablePath);
}

#[test]
fn an_esp_without_loader_or_without_fat_is_an_error() {
    let vars = Vars::new();
    let disk = disk_with(&[("EFI/BOOT/readme.txt", b"x")]);
    assert!(matches!(run(&disk, vars.0.path(), None).0, Err(BootEntryError::NoLoader { .. })));
    let disk = disk_with(&[("notes/readme.txt", b"x")]);
    assert!(matches!(run(&disk, vars.0.path(), None).0, Err(BootEntryError::NoLoader { .. })));
    let noise = disk_with(&[]);
    std::fs::write(&noise.path, crate::test_support::disks::gpt_image(12 << 20, 512)).unwrap();
    assert!(matches!(run(&noise, vars.0.path(), None).0, Err(BootEntryError::Esp { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_damaged_fat_ends_in_a_result(places in proptest::collection::vec((0_usize..40_000, any::<u8>()), 1..40)) {
        use std::os::unix::fs::FileExt;
        let (disk, vars) = (disk_with(&DEBIAN), Vars::new());
        let file = open(&disk);
        let start = partition(&file).first_lba * 512;
        for (at, byte) in places {
            file.write_all_at(&[byte], start + at as u64).unwrap();
        }
        // The step runs this on a thread of its own, where a panic is a failed step.
        let _ = std::panic::catch_unwind(|| run(&disk, vars.0.path(), None).0.is_ok());
    }
}
