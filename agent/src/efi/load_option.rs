//! `EFI_LOAD_OPTION` (UEFI 2.10, 3.1.3): label, device path, optional data.

use crate::disk::gpt::Partition;

/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;
const TYPE_MEDIA: u8 = 4;
const MEDIA_HARD_DRIVE: u8 = 1;
const MEDIA_FILE: u8 = 4;
const TYPE_END: u8 = 0x7f;
const END_ENTIRE: u8 = 0xff;
const NODE_HEADER: usize = 4;
/// Partition format and signature type of a GPT partition.
const GPT_FORMAT: u8 = 2;
const GUID_SIGNATURE: u8 = 2;

/// What we need to know of an entry that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Label.
    pub label: String,
    /// GUID of the GPT partition it boots from, when it names one.
    pub partition: Option<[u8; 16]>,
}

/// The bytes of an entry that starts `loader` (backslashes) on `partition`; `options` are the loader's.
#[must_use]
pub fn encode(label: &str, partition: &Partition, loader: &str, options: &str) -> Vec<u8> {
    let mut path = Vec::new();
    let mut hard_drive = Vec::new();
    hard_drive.extend(partition.number.to_le_bytes());
    hard_drive.extend(partition.first_lba.to_le_bytes());
    hard_drive.extend(partition.sectors.to_le_bytes());
    hard_drive.extend(partition.guid);
    hard_drive.extend([GPT_FORMAT, GUID_SIGNATURE]);
    node(&mut path, TYPE_MEDIA, MEDIA_HARD_DRIVE, &hard_drive);
    node(&mut path, TYPE_MEDIA, MEDIA_FILE, &utf16(loader));
    node(&mut path, TYPE_END, END_ENTIRE, &[]);

    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
    option.extend(utf16(label));
    option.extend(path);
    if !options.is_empty() {
        option.extend(utf16(options));
    }
    option
}

/// Reads label and partition of an entry; `None` when the bytes are no entry.
#[must_use]
pub fn parse(option: &[u8]) -> Option<Existing> {
    let (_, rest) = option.split_first_chunk::<4>()?;
    let (path_length, rest) = rest.split_first_chunk::<2>()?;
    let units: Vec<u16> = rest.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    let label = String::from_utf16_lossy(units.get(..end)?);
    let path = rest.get((end + 1) * 2..)?.get(..usize::from(u16::from_le_bytes(*path_length)))?;
    Some(Existing { label, partition: partition_of(path) })
}

fn partition_of(mut path: &[u8]) -> Option<[u8; 16]> {
    while let [kind, subtype, low, high, ..] = path {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        if *kind == TYPE_END || length < NODE_HEADER {
            return None;
        }
        let data = path.get(NODE_HEADER..length)?;
        if (*kind, *subtype) == (TYPE_MEDIA, MEDIA_HARD_DRIVE) {
            // Number, start and size come before the signature.
            let guid = data.get(20..36)?.try_into().ok()?;
            return (data.get(36..38)? == [GPT_FORMAT, GUID_SIGNATURE]).then_some(guid);
        }
        path = path.get(length..)?;
    }
    None
}

fn node(path: &mut Vec<u8>, kind: u8, subtype: u8, data: &[u8]) {
    let length = u16::try_from(NODE_HEADER + data.len()).unwrap_or(u16::MAX);
    path.extend([kind, subtype]);
    path.extend(length.to_le_bytes());
    path.extend_from_slice(data);
}

/// UTF-16LE with a terminating zero.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition() -> Partition {
        Partition {
            number: 15,
            guid: *b"0123456789abcdef",
            first_lba: 8192,
            sectors: 253_952,
            sector: 512,
            efi_system: true,
        }
    }

    #[test]
    fn the_bytes_are_what_efibootmgr_writes() {
        let option = encode("debian", &partition(), r"\EFI\debian\shimx64.efi", "");
        let mut expected = hex::decode("01000000").unwrap();
        expected.extend(hex::decode("6200").unwrap());
        expected.extend(hex::decode("640065006200690061006e000000").unwrap());
        expected.extend(
            hex::decode("04012a000f0000000020000000000000 00e0030000000000".replace(' ', "")).unwrap(),
        );
        expected.extend(b"0123456789abcdef");
        expected.extend(hex::decode("0202").unwrap());
        expected.extend(hex::decode("04043400").unwrap());
        expected.extend(r"\EFI\debian\shimx64.efi".encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        expected.extend(hex::decode("7fff0400").unwrap());
        assert_eq!(hex::encode(&option), hex::encode(&expected));
        let parsed = parse(&option).unwrap();
        assert_eq!(parsed, Existing { label: "debian".into(), partition: Some(*b"0123456789abcdef") });
    }

    #[test]
    fn an_entry_of_the_firmware_has_no_partition() {
        // PciRoot(0x0)/Pci(0x2,0x0)/MAC(…) as OVMF has it, cut down to an ACPI node and the end.
        let mut option = hex::decode("09000000 1000".replace(' ', "")).unwrap();
        option.extend(utf16("UEFI PXEv4"));
        option.extend(hex::decode("02010c00d041030a000000007fff0400").unwrap());
        assert_eq!(parse(&option), Some(Existing { label: "UEFI PXEv4".into(), partition: None }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = partition_of(&bytes);
        }
    }
}
