//! Memory: what the kernel has, and what is plugged in by DMI.

use bessemer_proto::inventory::Memory;

use crate::{disk::sysfs, steps::Roots};

/// Memory Device (SMBIOS 3.6, 7.18).
const MEMORY_DEVICE: u8 = 17;
const END_OF_TABLE: u8 = 127;

pub(super) fn collect(roots: &Roots) -> Memory {
    let table = sysfs::text(&roots.proc.join("meminfo")).unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let installed =
        sysfs::bytes(&roots.sys.join("firmware/dmi/tables/DMI")).map_or(0, |tables| installed_mib(&tables));
    Memory {
        total: kib.saturating_mul(1024),
        physical_mb: if installed > 0 { installed } else { kib / 1024 },
    }
}

/// Sum of all memory devices in MiB; what a damaged table holds up to the damage.
fn installed_mib(tables: &[u8]) -> u64 {
    let mut rest = tables;
    let mut sum: u64 = 0;
    while let [kind, length, ..] = rest {
        let length = usize::from(*length);
        let Some(structure) = rest.get(..length).filter(|_| length >= 4 && *kind != END_OF_TABLE) else {
            break;
        };
        if *kind == MEMORY_DEVICE {
            sum = sum.saturating_add(device_mib(structure).unwrap_or(0));
        }
        // Strings follow, ended by an empty one.
        let strings = rest.get(length..).unwrap_or_default();
        let Some(end) = strings.windows(2).position(|pair| pair == [0, 0]) else { break };
        rest = strings.get(end + 2..).unwrap_or_default();
    }
    sum
}

fn device_mib(structure: &[u8]) -> Option<u64> {
    let size = u16::from_le_bytes(structure.get(0x0c..0x0e)?.try_into().ok()?);
    match size {
        // Empty slot, unknown size.
        0 | 0xffff => None,
        0x7fff => {
            let extended = u32::from_le_bytes(structure.get(0x1c..0x20)?.try_into().ok()?);
            Some(u64::from(extended & 0x7fff_ffff))
        }
        kib if kib & 0x8000 != 0 => Some(u64::from(kib & 0x7fff) / 1024),
        mib => Some(u64::from(mib)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device(size: u16, extended: u32) -> Vec<u8> {
        let mut structure = vec![0; 0x28];
        structure[0] = MEMORY_DEVICE;
        structure[1] = 0x28;
        structure[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        structure[0x1c..0x20].copy_from_slice(&extended.to_le_bytes());
        structure.extend(b"DIMM 0\0Samsung\0\0");
        structure
    }

    #[test]
    fn all_devices_count_in_their_own_units() {
        let mut tables = vec![1, 4, 0, 0, 0, 0];
        tables.extend(device(16384, 0));
        tables.extend(device(0, 0));
        tables.extend(device(0x7fff, 65536));
        tables.extend(device(0xffff, 0));
        tables.extend(device(0x8000 | 2048, 0));
        tables.extend([END_OF_TABLE, 4, 0, 0, 0, 0]);
        tables.extend(device(16384, 0));
        assert_eq!(installed_mib(&tables), 16384 + 65536 + 2);
    }

    proptest! {
        #[test]
        fn damaged_tables_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = installed_mib(&bytes);
        }
    }
}
