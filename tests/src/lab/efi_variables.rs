//! The variable store in a UEFI machine's flash memory, edited while the machine is off, as a BMC does that shares it
//! with the firmware. Bytes only: no I/O. Format: authenticated variables of EDK II.

use std::ops::Range;

/// EFI_GLOBAL_VARIABLE.
pub(super) const GLOBAL: Vendor =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// EFI_SECURE_BOOT_ENABLE_DISABLE.
pub(super) const SECURE_BOOT: Vendor =
    [0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44];

/// A vendor GUID as it lies in memory.
pub(super) type Vendor = [u8; 16];

const MARK: [u8; 2] = [0xaa, 0x55];
const ADDED: u8 = 0x3f;
const DELETED: u8 = 0x3d;
/// Non-volatile, for boot services and at run time.
const ATTRIBUTES: u32 = 7;
const HEADER: usize = 60;
/// The header of the store, behind that of the firmware volume.
const STORE_HEADER: usize = 28;

/// One machine's flash.
pub(super) struct Variables {
    pub(super) flash: Vec<u8>,
}

/// A variable's place.
struct Place {
    header: usize,
    name: Range<usize>,
    data: Range<usize>,
}

impl Variables {
    /// A variable's data.
    #[cfg(test)]
    pub(super) fn get(&self, vendor: &Vendor, name: &str) -> Option<&[u8]> {
        self.flash.get(self.find(vendor, name)?.data)
    }

    /// Sets a variable. `None`: the store is damaged or full.
    pub(super) fn set(&mut self, vendor: &Vendor, name: &str, data: &[u8]) -> Option<()> {
        match self.find(vendor, name) {
            Some(place) if place.data.len() == data.len() => {
                self.flash.get_mut(place.data)?.copy_from_slice(data);
                return Some(());
            }
            Some(place) => *self.flash.get_mut(place.header + 2)? = DELETED,
            None => {}
        }
        self.append(vendor, name, data)
    }

    /// Removes a variable, if it is there.
    pub(super) fn remove(&mut self, vendor: &Vendor, name: &str) {
        let state = self.find(vendor, name).and_then(|place| self.flash.get_mut(place.header + 2));
        if let Some(state) = state {
            *state = DELETED;
        }
    }

    fn append(&mut self, vendor: &Vendor, name: &str, data: &[u8]) -> Option<()> {
        let name = utf16(name);
        let mut variable = MARK.to_vec();
        variable.extend([ADDED, 0]);
        variable.extend(ATTRIBUTES.to_le_bytes());
        // Monotonic count, time stamp and key index: for authenticated variables only.
        variable.extend([0; 28]);
        variable.extend(u32::try_from(name.len()).ok()?.to_le_bytes());
        variable.extend(u32::try_from(data.len()).ok()?.to_le_bytes());
        variable.extend(vendor);
        variable.extend(name);
        variable.extend(data);
        let free = self.places().last()?.1;
        let end = free.checked_add(variable.len())?;
        if end > self.end()? {
            return None;
        }
        self.flash.get_mut(free..end)?.copy_from_slice(&variable);
        Some(())
    }

    fn find(&self, vendor: &Vendor, name: &str) -> Option<Place> {
        let name = utf16(name);
        self.places().filter_map(|(place, _)| place).find(|place| {
            let part = |range: Range<usize>| self.flash.get(range).unwrap_or_default();
            part(place.header + 2..place.header + 3) == [ADDED]
                && part(place.header + 44..place.header + HEADER) == vendor
                && part(place.name.clone()) == name
        })
    }

    /// All variables, dead ones too, each with the position behind it; last, without a place, the first free position.
    fn places(&self) -> impl Iterator<Item = (Option<Place>, usize)> {
        let mut at = self.start();
        std::iter::from_fn(move || {
            let header = at?.next_multiple_of(4);
            at = None;
            let place = self.place(header)?;
            at = place.as_ref().map(|place| place.data.end);
            Some((place, at.unwrap_or(header)))
        })
    }

    /// The variable at a position; `Some(None)`: there is none; `None`: the store is damaged.
    fn place(&self, header: usize) -> Option<Option<Place>> {
        let bytes = self.flash.get(header..header.checked_add(HEADER)?)?;
        if bytes.get(..2)? != MARK {
            return Some(None);
        }
        let name = header + HEADER..(header + HEADER).checked_add(number(bytes.get(36..40)?)?)?;
        let data = name.end..name.end.checked_add(number(bytes.get(40..44)?)?)?;
        Some((data.end <= self.end()?).then_some(Place { header, name, data }))
    }

    fn store(&self) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes(self.flash.get(0x30..0x32)?.try_into().ok()?)))
    }

    fn start(&self) -> Option<usize> {
        Some(self.store()? + STORE_HEADER)
    }

    fn end(&self) -> Option<usize> {
        let store = self.store()?;
        let end = store.checked_add(number(self.flash.get(store + 16..store + 20)?)?)?;
        (end <= self.flash.len()).then_some(end)
    }
}

fn number(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// A name with its end.
fn utf16(name: &str) -> Vec<u8> {
    name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(name: &str) -> Variables {
        Variables { flash: std::fs::read(format!("/usr/share/OVMF/{name}")).unwrap() }
    }

    #[test]
    fn a_value_of_the_same_size_is_changed_in_place() {
        let mut variables = template("OVMF_VARS_4M.ms.fd");
        let before = variables.flash.clone();
        assert_eq!(variables.get(&SECURE_BOOT, "SecureBootEnable"), Some(&[1][..]));
        variables.set(&SECURE_BOOT, "SecureBootEnable", &[0]).unwrap();
        let changed = (0..before.len()).filter(|&at| before[at] != variables.flash[at]).count();
        assert_eq!(changed, 1, "one byte and no other");
    }

    #[test]
    fn variables_come_change_and_go() {
        for name in ["OVMF_VARS_4M.ms.fd", "OVMF_VARS_4M.fd"] {
            let mut variables = template(name);
            variables.set(&GLOBAL, "BootNext", &[1, 2]).unwrap();
            variables.set(&GLOBAL, "BootB0C0", &[3; 9]).unwrap();
            variables.set(&GLOBAL, "BootNext", &[4, 5, 6]).unwrap();
            assert_eq!(variables.get(&GLOBAL, "BootNext"), Some(&[4, 5, 6][..]));
            assert_eq!(variables.get(&GLOBAL, "BootB0C0"), Some(&[3; 9][..]));
            assert_eq!(variables.get(&SECURE_BOOT, "BootNext"), None, "another vendor's");
            variables.remove(&GLOBAL, "BootNext");
            assert_eq!(variables.get(&GLOBAL, "BootNext"), None);
        }
    }

    #[test]
    fn a_full_store_says_so() {
        let mut variables = template("OVMF_VARS_4M.fd");
        let mut set = 0_u32;
        while variables.set(&GLOBAL, &format!("V{set}"), &[0; 4000]).is_some() {
            set += 1;
        }
        assert!((60..66).contains(&set), "{set}");
        assert_eq!(variables.get(&GLOBAL, "V0").map(<[u8]>::len), Some(4000));
    }

    #[test]
    fn a_damaged_store_is_no_panic() {
        let whole = template("OVMF_VARS_4M.ms.fd").flash;
        for length in [0, 0x31, 0x64, 0x90, 0x58e4 + 40, 0x58e4 + 70] {
            let mut variables = Variables { flash: whole[..length].to_vec() };
            assert_eq!(variables.get(&SECURE_BOOT, "SecureBootEnable"), None, "cut at {length}");
            assert_eq!(variables.set(&GLOBAL, "BootNext", &[0, 0]), None);
        }
    }
}
