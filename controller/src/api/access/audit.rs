//! The audit log: one line of JSON for each request that changes something or was refused. Who, from where, what,
//! how it ended; never a body, an argument or a secret.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use tokio::sync::mpsc;

/// Lines that wait to be written; then requests wait.
const QUEUE: usize = 4096;

/// Takes lines. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// `None`: lines go to the controller's log only.
    lines: Option<mpsc::Sender<Vec<u8>>>,
}

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {path} (api.audit_log) cannot be written", path = path.display())]
pub struct AuditError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'a> {
    pub(super) time: String,
    pub(super) request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) global_request_id: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) user_id: Option<&'a str>,
    pub(super) project: Option<&'a str>,
    pub(super) project_id: Option<&'a str>,
    pub(super) system: bool,
    pub(super) roles: &'a [String],
    pub(super) address: Option<String>,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) node: Option<&'a str>,
    pub(super) status: u16,
}

/// A line about what has no line of its own.
#[derive(Debug, Serialize)]
struct More {
    time: String,
    address: Option<String>,
    more_refused: u64,
}

/// The time of a line.
pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

// === impl Audit ===

impl Audit {
    /// Appends to a file, made with permissions 0600. It may be renamed at any time (logrotate): the next line
    /// then goes into a new one.
    pub fn open(path: PathBuf) -> Result<Self, AuditError> {
        let file = append(&path).map_err(|source| AuditError { path: path.clone(), source })?;
        let (lines, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn({
                let path = path.clone();
                move || write_all(&path, file, queue)
            })
            .map_err(|source| AuditError { path, source })?;
        Ok(Self { lines: Some(lines) })
    }

    pub(super) async fn write(&self, entry: &Entry<'_>) {
        tracing::info!(
            target: "audit",
            user = entry.user, project = entry.project, method = entry.method, path = entry.path,
            status = entry.status, "asked"
        );
        self.send(entry).await;
    }

    /// Says how many refusals of a client were not written; without a client, those of all others.
    pub(super) async fn write_more(&self, client: Option<IpAddr>, more_refused: u64) {
        let address = client.map(|address| address.to_string());
        tracing::info!(target: "audit", address, more_refused, "more requests were refused");
        let time = now();
        self.send(&More { time, address, more_refused }).await;
    }

    async fn send(&self, line: &impl Serialize) {
        let Some(lines) = &self.lines else { return };
        if let Ok(mut line) = serde_json::to_vec(line) {
            line.push(b'\n');
            lines.send(line).await.ok();
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Runs on a thread of its own until nobody can send any more.
fn write_all(path: &Path, mut file: File, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut failing = false;
    while let Some(line) = queue.blocking_recv() {
        let written = reopened(path, &mut file).and_then(|()| file.write_all(&line));
        match written {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, path = %path.display(), "the audit log cannot be written: lines are lost");
            }
            Err(_) => {}
        }
    }
}

/// Opens the file anew when it was renamed or removed.
fn reopened(path: &Path, file: &mut File) -> io::Result<()> {
    let same = match (path.metadata(), file.metadata()) {
        (Ok(named), Ok(open)) => named.ino() == open.ino() && named.dev() == open.dev(),
        _ => false,
    };
    if !same {
        *file = append(path)?;
    }
    Ok(())
}
