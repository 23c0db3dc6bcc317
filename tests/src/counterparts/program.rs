//! Running a program of the virtual environment to its end.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::CounterpartError;

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Whether the exit code is 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit code {code}")?,
            None => write!(f, "ended by a signal")?,
        }
        write!(f, "\n{}{}", self.stdout, self.stderr)
    }
}

/// A program of the virtual environment: `BESSEMER_VENV`, or `.cache/venv` in the repository.
pub(super) fn in_venv(name: &str) -> Result<PathBuf, CounterpartError> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/venv");
    let path = std::env::var_os("BESSEMER_VENV").map_or_else(default, PathBuf::from).join("bin").join(name);
    if path.is_file() { Ok(path) } else { Err(CounterpartError::Missing { path }) }
}

/// Settings of the person at the keyboard must not lead elsewhere.
pub(super) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OS_") {
            command.env_remove(name);
        }
    }
}

/// Runs `command` with nothing on standard input, for `limit` at most.
pub(super) async fn run(mut command: Command, limit: Duration) -> Result<Answer, CounterpartError> {
    let program = format!("{:?}", command.as_std());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Ok(ended) => ended.map_err(|source| CounterpartError::Start { program, source })?,
        Err(_) => return Err(CounterpartError::Late { program, limit }),
    };
    Ok(Answer {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
