//! `bessemer image`: works on files of this machine, without a controller.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use anyhow::{Context as _, bail, ensure};
use bessemer_proto::digest::DigestAlgorithm;
use clap::{
    Args, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use uuid::Uuid;

use crate::image::manifest::{Watch, make};

/// `bessemer image …`
#[derive(Debug, Subcommand)]
pub(super) enum ImageCommand {
    /// Makes the manifest of a raw image: the digests of its ranges, so that agents fetch only what a disk lacks.
    Manifest(MakeManifest),
}

/// `bessemer image manifest …`
#[derive(Debug, Args)]
pub(super) struct MakeManifest {
    /// The raw image, not packed.
    #[arg(value_name = "FILE")]
    image: PathBuf,
    /// How the manifest is written.
    #[arg(long, default_value = "json")]
    format: ManifestFormat,
    /// Which digest of the whole image the manifest names: the one that deploys of the image declare. Default: sha256.
    /// A bmap names none.
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithms())]
    digest: Option<DigestAlgorithm>,
    /// Where to: a file, made whole or not at all. Standard output when absent.
    #[arg(long, value_name = "OUT")]
    write_to: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ManifestFormat {
    /// Bessemer's own.
    Json,
    /// XML that bmaptool reads too.
    Bmap,
}

fn algorithms() -> impl clap::builder::TypedValueParser<Value = DigestAlgorithm> {
    PossibleValuesParser::new(["sha256", "sha512"]).try_map(|name| name.parse::<DigestAlgorithm>())
}

impl ImageCommand {
    /// Runs it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Manifest(command) = self;
        command.run()
    }
}

impl MakeManifest {
    fn run(&self) -> anyhow::Result<()> {
        if self.format == ManifestFormat::Bmap && self.digest.is_some() {
            bail!("a bmap names no digest of the image: leave --digest out, or use --format json");
        }
        let write_to = self.write_to.as_deref().map(|path| self.destination(path)).transpose()?;
        let bar = progress(&self.image);
        let watch = Watch { progress: &|done| bar.set_position(done), stop: &AtomicBool::new(false) };
        let made = make(&self.image, self.digest.unwrap_or(DigestAlgorithm::Sha256), watch);
        bar.finish_and_clear();
        let manifest = made?;
        let text = match self.format {
            ManifestFormat::Json => manifest.to_json(),
            ManifestFormat::Bmap => manifest.to_bmap()?,
        };
        match &write_to {
            Some(path) => {
                write_whole(path, &text).with_context(|| format!("could not write {}", path.display()))
            }
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                Ok(out.flush()?)
            }
        }
    }

    /// The file to write, links followed: never the image itself, and nothing that is no file, since it is replaced.
    fn destination(&self, path: &Path) -> anyhow::Result<PathBuf> {
        let Ok(found) = fs::metadata(path) else { return Ok(path.to_owned()) };
        let image = fs::metadata(&self.image);
        ensure!(
            !image.is_ok_and(|image| (image.dev(), image.ino()) == (found.dev(), found.ino())),
            "--write-to {} is the image itself: give another file",
            path.display()
        );
        ensure!(
            found.is_file(),
            "--write-to {} exists and is not a regular file: give another, or leave --write-to out for standard output",
            path.display()
        );
        fs::canonicalize(path).with_context(|| format!("could not find {}", path.display()))
    }
}

fn progress(image: &Path) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let length = fs::metadata(image).map_or(0, |file| file.len());
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(4));
    let template = "[{elapsed_precise}] {wide_bar} {bytes} of {total_bytes} {bytes_per_sec}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The file is there whole or not at all.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let temporary = folder.join(format!(".manifest-{}", Uuid::new_v4()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().inspect_err(|_| {
        // It may not exist; the first error is what matters.
        fs::remove_file(&temporary).ok();
    })
}

#[cfg(test)]
mod tests {
    use bessemer_proto::manifest::Manifest;

    use super::*;

    fn command(image: PathBuf, format: ManifestFormat, out: &Path) -> MakeManifest {
        MakeManifest { image, format, digest: None, write_to: Some(out.to_owned()) }
    }

    #[test]
    fn the_image_is_never_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let image = at("disk.raw");
        fs::write(&image, vec![7; 100_000]).unwrap();
        std::os::unix::fs::symlink(&image, at("link")).unwrap();
        fs::hard_link(&image, at("hard")).unwrap();
        for (image, out) in
            [("disk.raw", "disk.raw"), ("disk.raw", "link"), ("disk.raw", "hard"), ("link", "hard")]
        {
            let error = command(at(image), ManifestFormat::Json, &at(out)).run().unwrap_err().to_string();
            assert!(error.contains("is the image itself"), "{image} {out}: {error}");
            assert_eq!(fs::read(at("disk.raw")).unwrap(), vec![7; 100_000]);
        }
        assert_eq!(fs::read_link(at("link")).unwrap(), image);
        let error = command(image, ManifestFormat::Json, folder.path()).run().unwrap_err().to_string();
        assert!(error.contains("is not a regular file"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_link_to_an_old_manifest_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("disk.raw"), "image").unwrap();
        fs::write(at("old"), "old").unwrap();
        std::os::unix::fs::symlink("old", at("link")).unwrap();
        command(at("disk.raw"), ManifestFormat::Json, &at("link")).run().unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        Manifest::parse(&fs::read(at("old")).unwrap()).unwrap();
    }

    #[test]
    fn the_manifest_names_the_digest_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (image, out) = (folder.path().join("disk.raw"), folder.path().join("manifest"));
        fs::write(&image, "image").unwrap();
        for digest in [None, Some(DigestAlgorithm::Sha256), Some(DigestAlgorithm::Sha512)] {
            MakeManifest { digest, ..command(image.clone(), ManifestFormat::Json, &out) }.run().unwrap();
            let named = Manifest::parse(&fs::read(&out).unwrap()).unwrap().image_digest.unwrap();
            assert_eq!(named.algorithm(), digest.unwrap_or(DigestAlgorithm::Sha256));
        }
        let bmap = MakeManifest {
            digest: Some(DigestAlgorithm::Sha512),
            ..command(image, ManifestFormat::Bmap, &out)
        };
        assert!(bmap.run().unwrap_err().to_string().contains("leave --digest out"));
    }

    #[test]
    fn both_formats_are_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (image, out) = (folder.path().join("disk.raw"), folder.path().join("manifest"));
        fs::write(&image, vec![7; 100_000]).unwrap();
        let read = || Manifest::parse(&fs::read(&out).unwrap()).unwrap();
        command(image.clone(), ManifestFormat::Json, &out).run().unwrap();
        let json = read();
        command(image.clone(), ManifestFormat::Bmap, &out).run().unwrap();
        assert_eq!(read().ranges, json.ranges);
        fs::write(&image, [0x1f, 0x8b, 8, 0]).unwrap();
        let error = command(image.clone(), ManifestFormat::Json, &out).run().unwrap_err().to_string();
        assert!(error.contains("disk.raw is gzip, and a manifest is of the raw image"), "{error}");
        assert_eq!(read().ranges, json.ranges, "what was there stays");
        fs::write(&image, [7]).unwrap();
        let nowhere = folder.path().join("none/manifest");
        let error = command(image, ManifestFormat::Json, &nowhere).run().unwrap_err();
        assert!(error.to_string().contains("could not write"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
