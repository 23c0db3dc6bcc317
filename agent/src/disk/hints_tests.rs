use serde_json::json;

use super::*;
use crate::disk::{ChooseError, Wwn, choose};

fn disk(name: &str, gib: u64) -> BlockDevice {
    BlockDevice {
        kernel_name: name.to_owned(),
        size: gib * GIB,
        model: Some("Samsung SSD 870".to_owned()),
        vendor: Some("ATA".to_owned()),
        serials: vec!["S5Y2NJ0R".to_owned(), "5002538f41a2b3c4".to_owned()],
        wwn: Wwn {
            name: Some("0x5002538f41a2b3c4".to_owned()),
            vendor_extension: None,
            with_extension: Some("0x5002538f41a2b3c4".to_owned()),
        },
        hctl: Some("2:0:0:0".to_owned()),
        by_path: vec!["pci-0000:00:17.0-ata-3.0".to_owned(), "pci-0000:00:17.0-ata-3".to_owned()],
        tran: Some("sata".to_owned()),
        ..BlockDevice::default()
    }
}

fn hints(value: Value) -> Result<Hints, HintError> {
    Hints::parse(value.as_object().unwrap())
}

fn fits(value: Value) -> bool {
    hints(value).unwrap().mismatch(&disk("sda", 100)).is_none()
}

#[test]
fn the_table_of_operators() {
    for (good, value) in [
        (true, json!({"size": 100})),
        (true, json!({"size": "100"})),
        (false, json!({"size": 99})),
        (true, json!({"size": "= 60"})),
        (true, json!({"size": ">= 100"})),
        (false, json!({"size": "> 100"})),
        (true, json!({"size": "<= 100"})),
        (false, json!({"size": "< 100"})),
        (true, json!({"size": "== 100"})),
        (false, json!({"size": "!= 100"})),
        (true, json!({"size": "<or> 50 <or> 100"})),
        (true, json!({"model": " samsung ssd 870 "})),
        (true, json!({"model": "<in> SSD"})),
        (true, json!({"model": "<all-in> samsung <all-in> 870"})),
        (false, json!({"model": "<all-in> samsung <all-in> 980"})),
        (true, json!({"model": "<or> Foo <or> Samsung SSD 870"})),
        (true, json!({"model": "s== SAMSUNG SSD 870"})),
        (false, json!({"model": "s!= SAMSUNG SSD 870"})),
        (true, json!({"model": "s>= samsung"})),
        (false, json!({"model": "s< samsung"})),
        (true, json!({"serial": "s5y2nj0r"})),
        (true, json!({"serial": "5002538F41A2B3C4"})),
        (true, json!({"wwn": "0x5002538F41A2B3C4"})),
        (true, json!({"wwn_with_extension": "0x5002538f41a2b3c4"})),
        (false, json!({"wwn_vendor_extension": "0x1"})),
        (true, json!({"name": "/dev/sda"})),
        (false, json!({"name": "/dev/sdb"})),
        (true, json!({"hctl": "2:0:0:0"})),
        (true, json!({"by_path": "/dev/disk/by-path/pci-0000:00:17.0-ata-3"})),
        (true, json!({"by_path": "pci-0000:00:17.0-ata-3.0"})),
        (true, json!({"tran": "sata"})),
        (true, json!({"vendor": "ata", "size": ">= 50", "rotational": false})),
        (true, json!({"rotational": "no"})),
        (false, json!({"rotational": true})),
        (false, json!({"vendor": "ata", "size": ">= 500"})),
    ] {
        assert_eq!(fits(value.clone()), good, "{value}");
    }
}

#[test]
fn bad_hints_are_refused_with_the_reason() {
    for (value, part) in [
        (json!({"colour": "red"}), "unknown root-device hint \"colour\""),
        (json!({"size": "big"}), "\"size\" has the value \"big\""),
        (json!({"size": 0}), "positive number of GiB"),
        (json!({"size": -3}), "positive number of GiB"),
        (json!({"size": 1.5}), "positive number of GiB"),
        (json!({"size": "<or> 5 <or>"}), "positive number of GiB"),
        (json!({"rotational": "maybe"}), "true or false"),
        (json!({"rotational": 1}), "true or false"),
        (json!({"serial": 123}), "must be a text"),
        (json!({"model": ""}), "not empty"),
        (json!({"model": "s=="}), "not empty"),
        (json!({"model": "<in> "}), "after each operator"),
    ] {
        let error = hints(value.clone()).unwrap_err().to_string();
        assert!(error.contains(part), "{value}: {error}");
    }
}

#[test]
fn without_hints_the_smallest_of_4_gib_wins_and_every_disk_is_explained() {
    let mut stick = disk("sdc", 30);
    stick.boot_medium = Some("it is the USB medium with the deploy ISO".to_owned());
    let disks = [disk("sda", 100), disk("sdb", 50), stick, disk("sdd", 50), disk("sde", 3)];
    let choice = choose(&disks, &Hints::default()).unwrap();
    assert_eq!(choice.device.kernel_name, "sdb");
    assert_eq!(choice.explanations.len(), disks.len());
    assert!(choice.explanations[1].contains("chosen: the smallest"), "{:?}", choice.explanations);
    assert!(choice.explanations[2].contains("deploy ISO"), "{:?}", choice.explanations);
    assert!(choice.explanations[4].contains("less than the 4 GiB"), "{:?}", choice.explanations);
}

#[test]
fn no_match_says_why_for_each_disk() {
    let wanted = hints(json!({"serial": "OTHER"})).unwrap();
    let error = choose(&[disk("sda", 100), disk("sdb", 50)], &wanted).unwrap_err().to_string();
    assert!(error.contains("/dev/sda") && error.contains("/dev/sdb") && error.contains("other"), "{error}");
    assert_eq!(choose(&[], &wanted), Err(ChooseError::NoDisk));
}

#[test]
fn a_value_the_disk_does_not_have_never_matches() {
    let mut bare = disk("vda", 100);
    bare.model = None;
    let wanted = hints(json!({"model": "s!= foo"})).unwrap();
    assert_eq!(wanted.mismatch(&bare).as_deref(), Some("it has no model"));
}
