//! A machine of folders: `/sys`, `/proc` and `/dev` unpacked from a text, so that a fixture is one small file.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::Heard;
use crate::steps::{Roots, StepContext};

pub(crate) struct Machine {
    folder: tempfile::TempDir,
    pub(crate) roots: Roots,
}

impl Machine {
    /// Without anything.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let roots = Roots { sys: root("sys"), proc: root("proc"), dev: root("dev") };
        fs::create_dir_all(roots.sys.join("block")).unwrap();
        Self { folder, roots }
    }

    /// Unpacks lines `path = text`, `path =x hexadecimal` and `path -> target`; `#` comments. `\n` in a text is a
    /// line end.
    pub(crate) fn from_text(text: &str) -> Self {
        let machine = Self::empty();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if let Some((path, target)) = line.split_once(" -> ") {
                let link = machine.place(path);
                symlink(target, link).unwrap();
            } else if let Some((path, bytes)) = line.split_once(" =x ") {
                fs::write(machine.place(path), hex::decode(bytes.replace(' ', "")).unwrap()).unwrap();
            } else {
                let (path, value) =
                    line.split_once(" = ").unwrap_or_else(|| panic!("bad fixture line: {line}"));
                fs::write(
                    machine.place(path),
                    format!("{}\n", value.replace("\\n", "\n").replace("\\t", "\t")),
                )
                .unwrap();
            }
        }
        machine
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Adds the SCSI-less disk `name` that `device` plays.
    pub(crate) fn add_disk(&self, name: &str, serial: &str, device: &Path, size: u64) {
        let sysfs = self.roots.sys.join("devices/virtual/block").join(name);
        fs::create_dir_all(sysfs.join("queue")).unwrap();
        fs::write(sysfs.join("size"), format!("{}\n", size / 512)).unwrap();
        fs::write(sysfs.join("serial"), format!("{serial}\n")).unwrap();
        fs::write(sysfs.join("queue/logical_block_size"), "512\n").unwrap();
        symlink(&sysfs, self.roots.sys.join("block").join(name)).unwrap();
        symlink(device, self.roots.dev.join(name)).unwrap();
    }

    pub(crate) fn sysfs_of(&self, name: &str) -> PathBuf {
        self.roots.sys.join("block").join(name).canonicalize().unwrap()
    }

    pub(crate) fn context(&self) -> (StepContext, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        let context = StepContext {
            cancel: CancellationToken::new(),
            report: heard.clone(),
            roots: self.roots.clone(),
        };
        (context, heard)
    }
}
