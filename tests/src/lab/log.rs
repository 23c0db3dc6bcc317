//! Reading the logs of child processes and serial consoles while they grow.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::LabError;

const TAIL: u64 = 2000;
const PERIOD: Duration = Duration::from_millis(50);

/// The last lines of a log file, for error messages.
#[must_use]
pub fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Follows a log: each wait continues behind what the one before found.
#[derive(Clone, Debug)]
pub struct LogReader {
    path: PathBuf,
    position: u64,
}

impl LogReader {
    /// From the beginning of the log.
    #[must_use]
    pub fn from_start(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), position: 0 }
    }

    /// Everything from here on, now. Does not move.
    pub fn rest(&self) -> Result<Vec<u8>, LabError> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.position))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(LabError::file("read", &self.path)),
        }
    }

    /// Waits until `text` appears; the answer is what came before it and the text itself.
    pub async fn wait_for(&mut self, text: &str, within: Duration) -> Result<String, LabError> {
        let deadline = Instant::now() + within;
        loop {
            let bytes = self.rest()?;
            if let Some(at) = bytes.windows(text.len().max(1)).position(|window| window == text.as_bytes()) {
                let end = at + text.len();
                self.position += end as u64;
                return Ok(String::from_utf8_lossy(&bytes[..end]).into_owned());
            }
            if Instant::now() >= deadline {
                return Err(LabError::NotSeen {
                    text: text.into(),
                    path: self.path.clone(),
                    seconds: within.as_secs(),
                    tail: tail(&self.path),
                });
            }
            sleep(PERIOD).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn each_wait_continues_behind_the_last() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"boot 1 login:").unwrap();
        let mut reader = LogReader::from_start(file.path());
        assert_eq!(reader.wait_for("login:", Duration::ZERO).await.unwrap(), "boot 1 login:");
        assert!(matches!(reader.wait_for("login:", Duration::ZERO).await, Err(LabError::NotSeen { .. })));
        file.write_all(b" boot 2 login: ").unwrap();
        assert_eq!(reader.wait_for("login:", Duration::ZERO).await.unwrap(), " boot 2 login:");
    }

    #[tokio::test]
    async fn a_log_that_is_not_there_yet_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = LogReader::from_start(folder.path().join("serial.log"));
        let error = reader.wait_for("x", Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("\"x\" did not appear"));
    }
}
