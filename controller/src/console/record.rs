//! What consoles showed, in files of bounded size.

use std::{
    io,
    path::{Path, PathBuf},
};

use bessemer_proto::ids::NodeId;
use tokio::{
    fs::{self, File, OpenOptions},
    io::AsyncWriteExt as _,
};

/// The log of one console: a file, and the one before it.
pub(super) struct Record {
    path: PathBuf,
    /// Of each file; 0: nothing is recorded.
    most: u64,
    file: Option<(File, u64)>,
    failed: bool,
}

impl Record {
    /// `bytes` are for both files together.
    pub(super) fn new(folder: &Path, node: NodeId, bytes: u64) -> Self {
        Self { path: path(folder, node), most: bytes / 2, file: None, failed: false }
    }

    /// Adds what was shown. A full disk does not end a console: it is said once.
    pub(super) async fn add(&mut self, bytes: &[u8]) {
        if self.most == 0 {
            return;
        }
        match self.write(bytes).await {
            Ok(()) => self.failed = false,
            Err(error) => {
                self.file = None;
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(path = %self.path.display(), %error, "a console is not recorded");
                }
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(usize::try_from(self.most).unwrap_or(usize::MAX)) {
            let length = part.len() as u64;
            if self.file.as_ref().is_some_and(|(_, size)| size + length > self.most) {
                self.file = None;
                fs::rename(&self.path, older(&self.path)).await?;
            }
            let (mut file, size) = match self.file.take() {
                Some(open) => open,
                None => self.open(length).await?,
            };
            file.write_all(part).await?;
            file.flush().await?;
            self.file = Some((file, size + length));
        }
        Ok(())
    }

    async fn open(&self, length: u64) -> io::Result<(File, u64)> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).await?;
        }
        let is_full = |size: u64| size + length > self.most;
        if fs::metadata(&self.path).await.is_ok_and(|found| is_full(found.len())) {
            fs::rename(&self.path, older(&self.path)).await?;
        }
        // Passwords are typed on consoles.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path).await?;
        let size = file.metadata().await?.len();
        Ok((file, size))
    }

    /// Removes the log of a node.
    pub(super) async fn remove(folder: &Path, node: NodeId) {
        let path = path(folder, node);
        for path in [older(&path), path] {
            match fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "the log of a console is not removed");
                }
                _ => {}
            }
        }
    }
}

fn path(folder: &Path, node: NodeId) -> PathBuf {
    folder.join(format!("{node}.log"))
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_keeps_the_newest_and_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let node = NodeId::random();
        let path = path(folder.path(), node);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        for _ in 0..3 {
            // Each time as after a restart of the controller.
            let mut record = Record::new(folder.path(), node, 200);
            for n in 0..50 {
                record.add(format!("line {n}\n").as_bytes()).await;
                assert!(size(&path) <= 100 && size(&older(&path)) <= 100);
            }
        }
        let kept = std::fs::read_to_string(older(&path)).unwrap() + &std::fs::read_to_string(&path).unwrap();
        assert!(kept.ends_with("line 48\nline 49\n") && kept.len() > 100, "{kept}");
        let mut record = Record::new(folder.path(), node, 200);
        record.add(&[b'x'; 1000]).await;
        assert!(size(&path) <= 100);
        Record::remove(folder.path(), node).await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
