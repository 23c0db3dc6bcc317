use proptest::prelude::*;

use super::*;

fn index() -> (tempfile::TempDir, ModuleIndex) {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
    write(
        "modules.dep",
        "kernel/drivers/ata/libata.ko: kernel/drivers/scsi/scsi_mod.ko kernel/drivers/scsi/scsi-common.ko\n\
         kernel/drivers/ata/libahci.ko: kernel/drivers/ata/libata.ko kernel/drivers/scsi/scsi_mod.ko kernel/drivers/scsi/scsi-common.ko\n\
         kernel/drivers/ata/ahci.ko: kernel/drivers/ata/libahci.ko kernel/drivers/ata/libata.ko kernel/drivers/scsi/scsi_mod.ko kernel/drivers/scsi/scsi-common.ko\n\
         kernel/drivers/scsi/scsi_mod.ko: kernel/drivers/scsi/scsi-common.ko\n\
         kernel/drivers/scsi/scsi-common.ko:\n\
         kernel/drivers/scsi/sd_mod.ko.xz: kernel/drivers/scsi/scsi_mod.ko kernel/drivers/scsi/scsi-common.ko\n\
         kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\nno colon here\n",
    );
    write(
        "modules.alias",
        "# Aliases extracted from modules themselves.\n\
         alias pci:v*d*sv*sd*bc01sc06i01* ahci\n\
         alias pci:v00008086d00002922sv*sd*bc*sc*i* ahci\n\
         alias scsi:t-0x00* sd-mod\n\
         alias acpi*:PNP0700:* floppy\n\
         alias usb:v*p*d*dc*dsc*dp*ic08isc0[5-6]ip50in* usb-storage\n\
         alias broken\nsymbol:x y\n",
    );
    let index = ModuleIndex::read(root.path()).unwrap();
    (root, index)
}

#[test]
fn devices_find_their_modules() {
    let (_root, index) = index();
    let ahci = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01";
    assert_eq!(index.modules_for(ahci), ["ahci"]);
    assert_eq!(index.modules_for("scsi:t-0x00"), ["sd_mod"]);
    assert_eq!(index.modules_for("acpi:PNP0700:"), ["floppy"]);
    let stick = "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00";
    assert_eq!(index.modules_for(stick), ["usb_storage"]);
    assert!(index.modules_for(&stick.replace("isc06", "isc07")).is_empty());
    assert!(index.modules_for("platform:serial8250").is_empty());
    assert!(index.modules_for("").is_empty());
}

#[test]
fn dependencies_come_first_and_once() {
    let (root, index) = index();
    let names = |module| index.load_order(module).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("ahci"), ["scsi_common", "scsi_mod", "libata", "libahci", "ahci"]);
    assert_eq!(names("sd-mod"), ["scsi_common", "scsi_mod", "sd_mod"]);
    assert_eq!(index.load_order("sd_mod")[2].1, root.path().join("kernel/drivers/scsi/sd_mod.ko.xz"));
    assert_eq!(names("a"), ["b", "a"], "a cycle ends");
    assert!(names("built_in").is_empty());
}

#[test]
fn the_load_list_is_optional() {
    let (root, index) = index();
    assert!(index.load_list().is_empty());
    std::fs::write(root.path().join(LOAD_LIST), "efivarfs\n\n# comment\nnls-cp437 # why\n").unwrap();
    assert_eq!(index.load_list(), ["efivarfs", "nls_cp437"]);
}

#[test]
fn patterns_match_as_fnmatch_does() {
    for (pattern, text, expected) in [
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "aXbY", false),
        ("*", "", true),
        ("?", "", false),
        ("[!a]x", "bx", true),
        ("[!a]x", "ax", false),
        ("[a-c-]x", "-x", true),
        ("[]]x", "]x", true),
        ("[x", "[x", true),
        ("a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
    ] {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
    }
}

proptest! {
    #[test]
    fn any_pattern_and_text_are_survived(pattern in "[a-c*?\\[\\]!-]{0,20}", text in "[a-c\\[\\]-]{0,20}") {
        matches(pattern.as_bytes(), text.as_bytes());
    }
}
