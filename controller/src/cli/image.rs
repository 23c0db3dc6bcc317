//! `bessemer image`: works on files of this machine, without a controller.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use anyhow::Context as _;
use bessemer_proto::digest::DigestAlgorithm;
use clap::{Args, Subcommand, ValueEnum};
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
    /// Where to; standard output when absent.
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

impl ImageCommand {
    /// Runs it.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Manifest(command) = self;
        command.run()
    }
}

impl MakeManifest {
    fn run(&self) -> anyhow::Result<()> {
        let bar = progress(&self.image);
        let watch = Watch { progress: &|done| bar.set_position(done), stop: &AtomicBool::new(false) };
        let made = make(&self.image, DigestAlgorithm::Sha256, watch);
        bar.finish_and_clear();
        let manifest = made?;
        let text = match self.format {
            ManifestFormat::Json => manifest.to_json(),
            ManifestFormat::Bmap => manifest.to_bmap()?,
        };
        match &self.write_to {
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
        MakeManifest { image, format, write_to: Some(out.to_owned()) }
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
