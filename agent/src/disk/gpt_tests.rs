use std::{io::Cursor as Memory, sync::LazyLock};

use gptman::GPT;
use proptest::prelude::*;

use super::*;
use crate::test_support::disks::{ESP_GUID, MIB, gpt_image};

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn the_kind_of_table_depends_on_the_sectors_of_the_disk() {
    let (small, large) = (gpt_image(4 * MIB, 512), gpt_image(4 * MIB, 4096));
    assert_eq!(table_kind(&small, 512), TableKind::Gpt);
    assert_eq!(table_kind(&small, 4096), TableKind::GptOfOtherSectorSize(512));
    assert_eq!(table_kind(&large, 4096), TableKind::Gpt);
    assert_eq!(table_kind(&large, 512), TableKind::GptOfOtherSectorSize(4096));
    let mut mbr = vec![0; 512];
    assert_eq!(table_kind(&mbr, 512), TableKind::None);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(table_kind(&mbr, 512), TableKind::Mbr);
    assert_eq!(table_kind(&[0x55, 0xaa], 512), TableKind::None);
}

#[test]
fn partitions_are_found_with_their_numbers() {
    let file = file_of(&gpt_image(6 * MIB, 512));
    let found = partitions(&file, 512, 6 * MIB as u64).unwrap().unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].number, found[0].guid, found[0].efi_system), (1, ESP_GUID, true));
    assert_eq!((found[0].first_lba, found[1].efi_system), (2048, false));
    assert_eq!(partitions(&file_of(&[0; 4096]), 512, 4096).unwrap(), None);
    assert_eq!(partitions(&file_of(&[0; 100]), 512, 100).unwrap(), None);
}

#[test]
fn moving_the_backup_keeps_partitions_and_is_done_once() {
    for sector in [512, 4096] {
        let image = gpt_image(6 * MIB, u64::from(sector));
        let file = file_of(&image);
        file.set_len(9 * MIB as u64).unwrap();
        let size = 9 * MIB as u64;
        assert_eq!(move_backup_to_end(&file, sector, size).unwrap(), BackupPlace::Moved);
        assert_eq!(move_backup_to_end(&file, sector, size).unwrap(), BackupPlace::AtEnd);
        let mut content = vec![0; 9 * MIB];
        file.read_exact_at(&mut content, 0).unwrap();
        let before = GPT::read_from(&mut Memory::new(&image), u64::from(sector)).unwrap();
        let primary = GPT::read_from(&mut Memory::new(&content), u64::from(sector)).unwrap();
        // Without its primary the disk is read from the backup.
        content[sector as usize..2 * sector as usize].fill(0);
        let backup = GPT::read_from(&mut Memory::new(&content), u64::from(sector)).unwrap();
        for gpt in [&primary, &backup] {
            let entries = |gpt: &GPT| gpt.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>();
            assert_eq!(entries(gpt), entries(&before));
            assert_eq!(gpt.header.disk_guid, before.header.disk_guid);
            let entry_sectors = (128 * 128) / u64::from(sector);
            assert_eq!(gpt.header.last_usable_lba, size / u64::from(sector) - 2 - entry_sectors);
        }
        assert!(backup.is_backup());
    }
}

#[test]
fn a_backup_that_is_not_there_is_made() {
    let size = 6 * MIB as u64;
    let image = gpt_image(6 * MIB, 512);
    let file = file_of(&image);
    assert_eq!(move_backup_to_end(&file, 512, size).unwrap(), BackupPlace::AtEnd);
    // Cut off, and put on a disk that still has something else there.
    file.set_len(size - (40 << 10)).unwrap();
    file.set_len(size).unwrap();
    assert_eq!(end_of_partitions(&file, 512, size), Some(size - 33 * 512));
    assert_eq!(move_backup_to_end(&file, 512, size).unwrap(), BackupPlace::Missing);
    assert_eq!(move_backup_to_end(&file, 512, size).unwrap(), BackupPlace::AtEnd);
    let mut content = vec![0; 6 * MIB];
    file.read_exact_at(&mut content, 0).unwrap();
    content[512..1024].fill(0);
    let backup = GPT::read_from(&mut Memory::new(&content), 512).unwrap();
    assert!(backup.is_backup() && backup[1].is_used());
}

#[test]
fn a_partition_in_the_way_keeps_the_table_as_it_is() {
    let image = gpt_image(6 * MIB, 512);
    let file = file_of(&image);
    // A disk a little smaller than the table believes.
    let error = move_backup_to_end(&file, 512, 6 * MIB as u64 - 4096).unwrap_err();
    assert!(matches!(error, GptError::Header(_)), "{error:?}");
    let mut content = vec![0; image.len()];
    file.read_exact_at(&mut content, 0).unwrap();
    assert!(content == image);
}

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| gpt_image(4 * MIB, 512));

proptest! {
    #[test]
    fn hostile_headers_never_panic(
        changes in proptest::collection::vec((0_usize..92, any::<u8>()), 0..6),
        size in 1024_u64..(8 << 20),
        entries in prop_oneof![Just(0_u32), Just(u32::MAX), 1_u32..200],
        entry_lba in prop_oneof![Just(0_u64), Just(u64::MAX), 0_u64..20_000],
        entry_size in prop_oneof![Just(128_u32), Just(0), Just(u32::MAX)],
    ) {
        // The first sectors are all that is read of it.
        let mut image = IMAGE[..64 << 10].to_vec();
        let header = &mut image[512..604];
        header[72..80].copy_from_slice(&entry_lba.to_le_bytes());
        header[80..84].copy_from_slice(&entries.to_le_bytes());
        header[84..88].copy_from_slice(&entry_size.to_le_bytes());
        for (at, byte) in changes {
            if at >= 16 {
                header[at] = byte;
            }
        }
        // The checksum is right, so that the header is believed.
        header[16..20].fill(0);
        let sum = crc32(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        let file = file_of(&image);
        file.set_len(4 * MIB as u64).unwrap();
        let _ = partitions(&file, 512, size);
        let _ = move_backup_to_end(&file, 512, size);
    }
}

/// CRC-32 of GPT headers (UEFI 2.10, 4.1.2), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}
