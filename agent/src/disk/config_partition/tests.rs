use std::{io::Cursor, process::Command};

use gptman::{GPT, GPTPartitionEntry};
use proptest::prelude::*;

use super::*;
use crate::test_support::disks::{ESP_TYPE, MIB, TestDisk, gpt_image};

const SMALL: u64 = 1 << 20;

/// A sparse disk with partitions `(name, first MiB, MiB)`.
fn gpt_disk(disk_mib: u64, sector: u32, partitions: &[(&str, u64, u64)]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(disk_mib << 20).unwrap();
    let mut writer = &file;
    let mut gpt = GPT::new_from(&mut writer, sector.into(), *b"disk-unique-guid").unwrap();
    GPT::write_protective_mbr_into(&mut writer, sector.into()).unwrap();
    gpt.write_into(&mut writer).unwrap();
    let sectors = SMALL / u64::from(sector);
    let mut entries: Vec<_> = gpt.iter().map(|(_, entry)| entry.clone()).collect();
    for (number, (name, first, mib)) in partitions.iter().enumerate() {
        entries[number] = GPTPartitionEntry {
            partition_type_guid: ESP_TYPE,
            unique_partition_guid: [number as u8 + 1; 16],
            starting_lba: first * sectors,
            ending_lba: (first + mib) * sectors - 1,
            attribute_bits: 0,
            partition_name: (*name).into(),
        };
    }
    // Not through the table, which would refuse what overlaps.
    gpt.header.write_into(&mut writer, sector.into(), &entries).unwrap();
    file
}

fn find_on(file: &File, sector: u32, needed: u64) -> Result<Place, PlaceError> {
    find(file, sector, file.metadata().unwrap().len(), needed)
}

fn table(file: &File, sector: u32) -> GPT {
    GPT::read_from(&mut { file }, sector.into()).unwrap()
}

#[test]
fn a_new_partition_is_the_last_on_the_disk() {
    for sector in [512, 4096] {
        let file = gpt_disk(200, sector, &[("esp", 1, 10), ("root", 11, 40)]);
        // The disk is larger than the image was.
        file.set_len(300 << 20).unwrap();
        let mut place = find_on(&file, sector, 5).unwrap();
        assert_eq!((place.number, place.length, place.reused), (3, 64 << 20, false));
        assert_eq!(place.start, 235 << 20, "aligned, and before the backup");
        assert_eq!(
            table(&file, sector).iter().filter(|(_, entry)| entry.is_used()).count(),
            2,
            "not before commit"
        );
        place.commit(&file).unwrap();
        for at in [1, (300 << 20) / u64::from(sector) - 1] {
            // Each of the two tables alone names it.
            let mut bytes = vec![0; 300 << 20];
            file.read_exact_at(&mut bytes, 0).unwrap();
            let start = (at * u64::from(sector)) as usize;
            bytes[start..start + sector as usize].fill(0);
            let gpt = GPT::read_from(&mut Cursor::new(bytes), sector.into()).unwrap();
            let entry = &gpt[3];
            assert_eq!(entry.partition_name.as_str(), "config-2");
            assert_eq!(entry.starting_lba * u64::from(sector), place.start);
            assert_eq!(entry.size().unwrap() * u64::from(sector), 64 << 20);
            assert_eq!(gpt[1].unique_partition_guid, [1; 16]);
        }
    }
}

#[test]
fn the_partition_of_the_image_is_used_by_name_or_label_when_it_is_large_enough() {
    let file = gpt_disk(200, 512, &[("esp", 1, 10), ("Config-2", 11, 2), ("root", 13, 40)]);
    let place = find_on(&file, 512, 2 << 20).unwrap();
    assert_eq!((place.number, place.start, place.length, place.reused), (2, 11 << 20, 2 << 20, true));
    let mut place = find_on(&file, 512, (2 << 20) + 1).unwrap();
    assert_eq!((place.number, place.length, place.reused), (2, 64 << 20, false));
    place.commit(&file).unwrap();
    let gpt = table(&file, 512);
    assert_eq!(gpt.iter().filter(|(_, entry)| entry.is_used()).count(), 3, "the small one is gone");
    assert_eq!(gpt[2].starting_lba * 512, 135 << 20);

    let file = gpt_disk(200, 512, &[("esp", 1, 10), ("data", 11, 2)]);
    file.write_all_at(b"\x01CD001", (11 << 20) + 32768).unwrap();
    file.write_all_at(&[b' '; 32], (11 << 20) + 32768 + 40).unwrap();
    file.write_all_at(b"CONFIG-2", (11 << 20) + 32768 + 40).unwrap();
    assert!(find_on(&file, 512, 5).unwrap().reused);
}

#[test]
fn what_cannot_be_is_said_and_changes_nothing() {
    let refused = |file: &File, sector: u32| {
        let mut before = vec![0; 2 << 20];
        file.read_at(&mut before, 0).unwrap();
        let error = find_on(file, sector, 5).map(drop).unwrap_err();
        let mut after = vec![0; 2 << 20];
        file.read_at(&mut after, 0).unwrap();
        assert!(before == after);
        error.to_string()
    };
    let full = gpt_disk(100, 512, &[("esp", 1, 10), ("root", 11, 80)]);
    assert!(refused(&full, 512).contains("no room for a partition of 64 MiB"));
    let two = gpt_disk(200, 512, &[("config-2", 1, 10), ("config-2", 11, 10)]);
    assert!(refused(&two, 512).contains("partitions 1 and 2 are both"));
    let overlap = gpt_disk(200, 512, &[("config-2", 1, 10), ("root", 5, 10)]);
    assert!(refused(&overlap, 512).contains("partition 1, named or labelled config-2, overlaps"));
    let other = gpt_disk(200, 4096, &[("root", 1, 10)]);
    assert!(refused(&other, 512).contains("made for sectors of 4096 bytes"));
    let bare = tempfile::tempfile().unwrap();
    bare.set_len(200 << 20).unwrap();
    assert!(refused(&bare, 512).contains("no partition table"));
}

#[test]
fn a_gap_between_partitions_does_when_the_end_is_taken() {
    let file = gpt_disk(200, 512, &[("esp", 1, 10), ("root", 100, 99)]);
    let place = find_on(&file, 512, 5).unwrap();
    assert_eq!(place.start, 36 << 20);
}

/// An MBR disk with partitions `(type, first MiB, MiB)`.
fn mbr_disk(disk_mib: u64, partitions: &[(u8, u32, u32)]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(disk_mib << 20).unwrap();
    let mut mbr = [0; 512];
    for (entry, (kind, first, mib)) in mbr[446..510].chunks_exact_mut(16).zip(partitions) {
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&(first * 2048).to_le_bytes());
        entry[12..16].copy_from_slice(&(mib * 2048).to_le_bytes());
    }
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&mbr, 0).unwrap();
    file
}

#[test]
fn an_mbr_gets_a_primary_partition_when_one_is_free() {
    let file = mbr_disk(200, &[(0x83, 1, 10), (0x05, 20, 30)]);
    let mut place = find_on(&file, 512, 5).unwrap();
    assert_eq!((place.number, place.start, place.length), (3, 136 << 20, 64 << 20));
    place.commit(&file).unwrap();
    let again = find_on(&file, 512, 5).unwrap();
    assert!(!again.reused || again.number == 3);
    let full = mbr_disk(400, &[(0x83, 1, 10), (0x83, 20, 30), (0x83, 60, 10), (0x05, 80, 10)]);
    assert!(find_on(&full, 512, 5).map(drop).unwrap_err().to_string().contains("no free entry"));
    let protective = mbr_disk(200, &[(0xee, 1, 10)]);
    assert!(find_on(&protective, 512, 5).map(drop).unwrap_err().to_string().contains("protects a GPT"));
    assert!(matches!(find_on(&mbr_disk(200, &[]), 512, 5), Err(PlaceError::NoTable)));
    let huge = mbr_disk(3 << 20, &[(0x83, 1, 10)]);
    assert!(matches!(find_on(&huge, 512, 5), Err(PlaceError::TooLargeForMbr)));
}

#[test]
fn other_tools_see_the_partition() {
    for sector in [512, 4096] {
        let disk = TestDisk::sparse(300 << 20);
        let file = File::options().read(true).write(true).open(&disk.path).unwrap();
        file.write_all_at(&gpt_image(6 * MIB, sector.into()), 0).unwrap();
        find_on(&file, sector, 5).unwrap().commit(&file).unwrap();
        // In a file sgdisk takes sectors for 512 bytes.
        let disk = if sector == 512 { Some(disk) } else { disk.attached(sector) };
        let Some(disk) = disk else { continue };
        let output = Command::new("sgdisk").args(["--verify", "--info=3"]).arg(&disk.path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("No problems found"), "{said}");
        assert!(
            said.contains("'config-2'") && said.contains("0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
            "{said}"
        );
    }
}

proptest! {
    #[test]
    fn hostile_tables_never_panic_or_lead_outside_the_disk(
        entries in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..4),
        near in proptest::collection::vec((0_u64..300_000, 0_u64..300_000), 0..4),
        usable in (any::<u64>(), any::<u64>()),
        needed in any::<u64>(),
    ) {
        let file = gpt_disk(128, 512, &[]);
        let mut gpt = table(&file, 512);
        let all = entries.into_iter().chain(near.into_iter().map(|(first, last)| (first, last, false)));
        for (number, (first, last, named)) in (1..).zip(all) {
            gpt[number] = GPTPartitionEntry {
                partition_type_guid: ESP_TYPE,
                unique_partition_guid: [9; 16],
                starting_lba: first,
                ending_lba: last,
                attribute_bits: 0,
                partition_name: if named { "config-2" } else { "x" }.into(),
            };
        }
        (gpt.header.first_usable_lba, gpt.header.last_usable_lba) = usable;
        let mut entries = Vec::new();
        for (_, entry) in gpt.iter() {
            entries.push(entry.clone());
        }
        let mut writer = &file;
        gpt.header.write_into(&mut writer, 512, &entries).unwrap();
        if let Ok(place) = find_on(&file, 512, needed) {
            prop_assert!(place.start >= 34 * 512 && place.start + place.length <= (128 << 20) - 33 * 512);
        }
    }

    #[test]
    fn hostile_mbrs_never_panic_or_lead_outside_the_disk(mbr in proptest::collection::vec(any::<u8>(), 64)) {
        let file = mbr_disk(128, &[]);
        let mut mbr = mbr;
        for entry in mbr.chunks_exact_mut(16) {
            entry[0] = 0;
        }
        file.write_all_at(&mbr, 446).unwrap();
        if let Ok(place) = find_on(&file, 512, 5) {
            prop_assert!(place.start >= 512 && place.start + place.length <= 128 << 20);
        }
    }
}
