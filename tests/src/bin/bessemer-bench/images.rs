//! The images: made and packed once, kept in the cache by the digest of what they are made from.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use crate::measure::prepare;

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Raw,
    Gzip,
    Zstd3,
    Zstd19,
    Xz,
    Qcow2,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Gzip => "gzip",
            Self::Zstd3 => "zstd -3",
            Self::Zstd19 => "zstd -19",
            Self::Xz => "xz",
            Self::Qcow2 => "qcow2",
        }
    }

    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Raw => "disk.raw",
            Self::Gzip => "disk.raw.gz",
            Self::Zstd3 => "disk.raw.3.zst",
            Self::Zstd19 => "disk.raw.19.zst",
            Self::Xz => "disk.raw.xz",
            Self::Qcow2 => "disk.qcow2",
        }
    }

    /// Makes the file `$2` from the raw image `$1`.
    fn packer(self) -> &'static str {
        match self {
            Self::Raw => "false",
            Self::Gzip => r#"gzip -c "$1" > "$2""#,
            Self::Zstd3 => r#"zstd -q -T0 -3 -c "$1" > "$2""#,
            Self::Zstd19 => r#"zstd -q -T0 -19 -c "$1" > "$2""#,
            Self::Xz => r#"xz -T0 -c "$1" > "$2""#,
            Self::Qcow2 => r#"qemu-img convert -f raw -O qcow2 "$1" "$2""#,
        }
    }
}

/// A disk image in a folder of its own.
#[derive(Debug)]
pub(crate) struct Image {
    /// Name of the folder in the cache.
    pub(crate) name: String,
    folder: PathBuf,
    /// The raw image.
    pub(crate) raw: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its data, as offsets and lengths; the rest are holes.
    pub(crate) data: Vec<(u64, u64)>,
}

impl Image {
    /// The Debian image `source`, grown to `gib`.
    pub(crate) fn debian(cache: &Path, source: &Path, gib: u64) -> Result<Self> {
        let name = format!("debian-{gib}gib-{}", key(source)?);
        Self::made(cache, name, &[&source.to_string_lossy(), &gib.to_string()], GROW)
    }

    /// 128 MiB with some data of `source` in it: enough to see that everything works.
    pub(crate) fn sample(cache: &Path, source: &Path) -> Result<Self> {
        let name = format!("sample-{}", key(source)?);
        Self::made(cache, name, &[&source.to_string_lossy()], SAMPLE)
    }

    /// `mib` that cannot be packed.
    pub(crate) fn noise(cache: &Path, mib: u64) -> Result<Self> {
        Self::made(cache, format!("noise-{mib}mib"), &[&mib.to_string()], NOISE)
    }

    fn made(cache: &Path, name: String, arguments: &[&str], script: &str) -> Result<Self> {
        let folder = cache.join(&name);
        fs::create_dir_all(&folder)?;
        let raw = folder.join(Form::Raw.file());
        if !raw.exists() {
            make(&raw, arguments, script)?;
        }
        let bytes = fs::metadata(&raw)?.len();
        ensure!(bytes > 0 && bytes.is_multiple_of(4096), "{} has {bytes} bytes, no disk has", raw.display());
        let data = data(&raw, bytes)?;
        Ok(Self { name, folder, raw, bytes, data })
    }

    /// The file of `form`, made when it is missing.
    pub(crate) fn packed(&self, form: Form) -> Result<PathBuf> {
        let path = self.folder.join(form.file());
        if !path.exists() {
            eprintln!("bench: packing {} as {} (once)", self.name, form.name());
            make(&path, &[&self.raw.to_string_lossy()], form.packer())?;
        }
        Ok(path)
    }

    /// The digest of the file of `form`: `algorithm` as openssl names it.
    pub(crate) fn digest(&self, form: Form, algorithm: &str) -> Result<String> {
        let path = self.packed(form)?;
        let kept = self.folder.join(format!("{}.{algorithm}", form.file()));
        if !kept.exists() {
            make(&kept, &[&path.to_string_lossy(), algorithm], r#"openssl dgst "-$2" -r "$1" > "$3""#)?;
        }
        let text = fs::read_to_string(kept)?;
        Ok(text.split_whitespace().next().context("a digest of no length")?.to_owned())
    }

    /// The block map that bmaptool makes.
    pub(crate) fn bmap(&self) -> Result<PathBuf> {
        let path = self.folder.join("disk.raw.bmap");
        if !path.exists() {
            make(&path, &[&self.raw.to_string_lossy()], r#"bmaptool -q create -o "$2" "$1""#)?;
        }
        Ok(path)
    }

    /// The manifest that `bessemer` makes: its file name and its SHA-256. Made anew: `bessemer` may have changed.
    pub(crate) fn manifest(&self, bessemer: &Path) -> Result<(&'static str, String)> {
        const FILE: &str = "disk.json";
        let (path, raw) = (self.folder.join(FILE).to_string_lossy().into_owned(), self.raw.to_string_lossy());
        prepare(&bessemer.to_string_lossy(), &["image", "manifest", &raw, "--write-to", &path])?;
        let digest = prepare("sha256sum", &[&path])?;
        Ok((FILE, digest.split(' ').next().unwrap_or_default().to_owned()))
    }

    /// Bytes of data.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data.iter().map(|(_, length)| length).sum()
    }

    /// The data in pieces of at most `size`.
    pub(crate) fn data_pieces(&self, size: u64) -> Vec<(u64, u64)> {
        let step = usize::try_from(size).unwrap_or(usize::MAX);
        let cut = |&(offset, length): &(u64, u64)| {
            let end = offset + length;
            (offset..end).step_by(step).map(move |at| (at, size.min(end - at)))
        };
        self.data.iter().flat_map(cut).collect()
    }
}

/// `$1` as a disk of `$2` GiB, at `$3`.
const GROW: &str = r#"cp --sparse=always "$1" "$3"; truncate -s "$2G" "$3"; sgdisk -e "$3""#;

/// A disk with an MBR that says nothing and 64 MiB of `$1`, at `$2`.
const SAMPLE: &str = r#"truncate -s 128M "$2"; printf '\x55\xaa' | dd of="$2" bs=1 seek=510 conv=notrunc
dd if="$1" of="$2" bs=1M skip=256 seek=16 count=64 conv=notrunc,sparse"#;

/// A disk of `$1` MiB of random bytes with an MBR that says nothing, at `$2`.
const NOISE: &str = r#"head -c "$1M" /dev/urandom > "$2"; dd if=/dev/zero of="$2" bs=512 count=1 conv=notrunc
printf '\x55\xaa' | dd of="$2" bs=1 seek=510 conv=notrunc"#;

/// Runs `script` with `arguments` and a temporary name for `path` after them; whole or not there.
fn make(path: &Path, arguments: &[&str], script: &str) -> Result<()> {
    let part = path.with_extension("part");
    // What an interrupted run left.
    let _ = fs::remove_file(&part);
    let part_name = part.to_string_lossy().into_owned();
    let fixed = ["-euo", "pipefail", "-c", script, "bash"];
    prepare("bash", &[&fixed, arguments, &[&part_name]].concat())
        .with_context(|| format!("making {}", path.display()))?;
    Ok(fs::rename(part, path)?)
}

/// A short name of the content of `path`.
fn key(path: &Path) -> Result<String> {
    let sum = prepare("sha256sum", &[&path.to_string_lossy()])?;
    Ok(sum.get(..12).context("sha256sum printed nothing")?.to_owned())
}

/// Where the file has data, as its file system says.
fn data(path: &Path, bytes: u64) -> Result<Vec<(u64, u64)>> {
    let file = File::open(path)?;
    let (mut ranges, mut at) = (Vec::<(u64, u64)>::new(), 0);
    while at < bytes {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(&file, SeekFrom::Hole(start))?;
        ranges.push((start, end - start));
        at = end;
    }
    Ok(ranges)
}
