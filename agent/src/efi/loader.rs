//! Which file in an EFI system partition boots the installed system.
//!
//! First what the vendor's `BOOT*.CSV` says (shim's own record of how it wants to be started), then a loader with a
//! known name in a vendor's folder, then the removable path.

use std::io::{self, Read, Write};

use super::esp::{Fat, MOST_ENTRIES};

/// A boot CSV is one line.
const LARGEST_CSV: u64 = 64 << 10;
/// No boot loader is larger; a larger one is not copied.
const LARGEST_LOADER: u64 = 64 << 20;

/// Names that depend on the processor.
struct Names {
    csv: [&'static str; 2],
    removable: &'static str,
    shim: &'static str,
    grub: &'static str,
    mok_manager: &'static str,
    systemd_boot: &'static str,
}

#[cfg(target_arch = "aarch64")]
const NAMES: Names = Names {
    csv: ["BOOTAA64.CSV", "BOOT.CSV"],
    removable: "BOOTAA64.EFI",
    shim: "shimaa64.efi",
    grub: "grubaa64.efi",
    mok_manager: "mmaa64.efi",
    systemd_boot: "systemd-bootaa64.efi",
};
#[cfg(not(target_arch = "aarch64"))]
const NAMES: Names = Names {
    csv: ["BOOTX64.CSV", "BOOT.CSV"],
    removable: "BOOTX64.EFI",
    shim: "shimx64.efi",
    grub: "grubx64.efi",
    mok_manager: "mmx64.efi",
    systemd_boot: "systemd-bootx64.efi",
};
/// Windows keeps its boot manager one folder deeper.
const WINDOWS: (&str, &str) = ("Microsoft", "Boot/bootmgfw.efi");

/// A loader that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    /// Path with slashes, relative to the root, such as `EFI/debian/shimx64.efi`.
    pub path: String,
    /// The label that the image gives it.
    pub label: Option<String>,
    /// Options for it.
    pub options: String,
}

impl Loader {
    /// The path as the firmware writes it.
    #[must_use]
    pub fn firmware_path(&self) -> String {
        format!(r"\{}", self.path.replace('/', r"\"))
    }
}

/// The path that firmware tries when no entry boots.
#[must_use]
pub fn removable_path() -> String {
    format!("EFI/BOOT/{}", NAMES.removable)
}

/// The loader of the system on this partition; `None` when there is none that firmware of this processor can start.
pub fn find(fat: &Fat<'_>) -> io::Result<Option<Loader>> {
    let vendors = vendors(fat)?;
    for vendor in &vendors {
        if let Some(loader) = from_csv(fat, vendor)? {
            return Ok(Some(loader));
        }
    }
    for vendor in &vendors {
        let mut names = vec![NAMES.shim, NAMES.grub, NAMES.systemd_boot];
        if vendor.eq_ignore_ascii_case(WINDOWS.0) {
            names.push(WINDOWS.1);
        }
        let found =
            names.into_iter().map(|name| format!("EFI/{vendor}/{name}")).find(|path| exists(fat, path));
        if let Some(path) = found {
            return Ok(Some(Loader { path, label: Some(vendor.clone()), options: String::new() }));
        }
    }
    let path = removable_path();
    Ok(exists(fat, &path).then(|| Loader { path, label: None, options: String::new() }))
}

/// Makes sure that the removable path has a loader; true when it has one now. `loader` is copied there if needed,
/// shim with the second stage that it looks for beside itself.
pub fn ensure_removable(fat: &Fat<'_>, loader: &Loader) -> io::Result<bool> {
    if exists(fat, &removable_path()) {
        return Ok(true);
    }
    let Some((folder, name)) = loader.path.rsplit_once('/') else { return Ok(false) };
    let mut copies = Vec::new();
    if name.eq_ignore_ascii_case(NAMES.shim) {
        if !exists(fat, &format!("{folder}/{}", NAMES.grub)) {
            return Ok(false);
        }
        let beside = [NAMES.grub, NAMES.mok_manager];
        copies.extend(beside.into_iter().filter(|name| exists(fat, &format!("{folder}/{name}"))));
    }
    let efi = fat.root_dir().create_dir("EFI/BOOT")?;
    for name in copies {
        copy(fat, &format!("{folder}/{name}"), &efi, name)?;
    }
    // The firmware looks for this one, so it comes last.
    copy(fat, &loader.path, &efi, NAMES.removable)?;
    Ok(true)
}

fn copy<'a>(
    fat: &Fat<'a>,
    from: &str,
    to: &fatfs::Dir<'_, super::esp::Window<'a>>,
    name: &str,
) -> io::Result<()> {
    let mut source = fat.root_dir().open_file(from)?.take(LARGEST_LOADER);
    let mut target = to.create_file(name)?;
    target.truncate()?;
    io::copy(&mut source, &mut target)?;
    target.flush()?;
    if source.limit() == 0 {
        drop(target);
        to.remove(name)?;
        return Err(io::Error::other("the boot loader is larger than 64 MiB"));
    }
    Ok(())
}

/// Folders below `EFI` except `BOOT`, sorted.
fn vendors(fat: &Fat<'_>) -> io::Result<Vec<String>> {
    let efi = match fat.root_dir().open_dir("EFI") {
        Ok(efi) => efi,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut vendors = Vec::new();
    for entry in efi.iter().take(MOST_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        if entry.is_dir() && !name.starts_with('.') && !name.eq_ignore_ascii_case("BOOT") {
            vendors.push(name);
        }
    }
    vendors.sort_by_key(|name| name.to_ascii_lowercase());
    Ok(vendors)
}

fn exists(fat: &Fat<'_>, path: &str) -> bool {
    fat.root_dir().open_file(path).is_ok()
}

fn from_csv(fat: &Fat<'_>, vendor: &str) -> io::Result<Option<Loader>> {
    for name in NAMES.csv {
        let mut content = Vec::new();
        match fat.root_dir().open_file(&format!("EFI/{vendor}/{name}")) {
            Ok(file) => file.take(LARGEST_CSV).read_to_end(&mut content)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let loaders = parse_csv(&content).into_iter().map(|(loader, label, options)| Loader {
            path: format!("EFI/{vendor}/{loader}"),
            label: Some(label).filter(|label| !label.is_empty()),
            options,
        });
        if let Some(loader) = loaders.into_iter().find(|loader| exists(fat, &loader.path)) {
            return Ok(Some(loader));
        }
    }
    Ok(None)
}

/// Lines `loader,label,options,comment` in UTF-16LE, or in ASCII as some tools write them. Loaders outside the
/// folder of the file are ignored.
fn parse_csv(content: &[u8]) -> Vec<(String, String, String)> {
    let wide = content.starts_with(&[0xff, 0xfe]) || content.get(1) == Some(&0);
    let text = if wide {
        let units: Vec<u16> =
            content.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(content).into_owned()
    };
    let line = |line: &str| {
        let mut fields = line.splitn(4, ',').map(|field| field.trim().to_owned());
        let loader = fields.next()?;
        let good = !loader.is_empty() && !loader.contains(['/', '\\']) && loader != "..";
        good.then(|| (loader, fields.next().unwrap_or_default(), fields.next().unwrap_or_default()))
    };
    text.trim_start_matches('\u{feff}').split(['\n', '\r', '\0']).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn csv_with_and_without_byte_order_mark_and_in_ascii() {
        let line = "shimx64.efi,debian,,This is the boot entry for debian\r\n";
        let expected = vec![("shimx64.efi".to_owned(), "debian".to_owned(), String::new())];
        assert_eq!(parse_csv(&utf16(&format!("\u{feff}{line}"))), expected);
        assert_eq!(parse_csv(&utf16(line)), expected);
        assert_eq!(parse_csv(line.as_bytes()), expected);
        let options = parse_csv(&utf16("grubx64.efi,os,quiet splash,x"));
        assert_eq!(options, [("grubx64.efi".into(), "os".into(), "quiet splash".into())]);
    }

    #[test]
    fn csv_cannot_point_outside_its_folder() {
        for line in [r"..\BOOT\x.efi,evil", "/EFI/x.efi,evil", ",nothing", "..", ""] {
            assert!(parse_csv(&utf16(line)).is_empty(), "{line}");
        }
        assert!(parse_csv(&[0xff, 0xfe, 0x00]).is_empty());
    }
}
