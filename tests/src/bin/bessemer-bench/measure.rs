//! Runs a shell script and counts what it and all its descendants use.
//!
//! The counting is done by a process of its own (`bessemer-bench measure`), so that every run begins at zero. It adopts
//! orphans: `tee >(sha256sum)` leaves one, which the shell does not wait for and which must be counted all the same.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use serde::{Deserialize, Serialize};

/// What `timeout` returns for a script that it ended, and for one that it had to kill.
const TIMED_OUT: [i32; 2] = [124, 137];
/// Lines of a script's last words.
const LAST_WORDS: usize = 3;

/// What a run used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    /// From the start to the end of the last process.
    pub(crate) wall_seconds: f64,
    /// User and system time of all processes.
    pub(crate) cpu_seconds: f64,
    /// Largest resident memory of any one process.
    pub(crate) peak_kib: u64,
}

/// A run and what it said.
pub(crate) struct Run {
    pub(crate) used: Used,
    pub(crate) stdout: String,
}

/// Where and how long scripts run.
#[derive(Clone, Copy)]
pub(crate) struct Runner<'a> {
    /// Their working directory.
    pub(crate) folder: &'a Path,
    /// After so many seconds a script hangs, and is killed.
    pub(crate) limit: u32,
}

impl Runner<'_> {
    /// Runs `script` in bash with the disk `device` as `$DISK`.
    pub(crate) fn run(self, device: &Path, script: &str) -> Result<Run> {
        let path = |name| self.folder.join(name);
        let (stdout, stderr, result) = (path("stdout"), path("stderr"), path("used.json"));
        let status = clean(&mut Command::new(std::env::current_exe()?))
            .args(["measure", "--limit", &self.limit.to_string()])
            .arg(&result)
            .arg(script)
            .env("DISK", device)
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .status()?;
        match status.code() {
            Some(0) => {}
            Some(code) if TIMED_OUT.contains(&code) => bail!("killed after {} s", self.limit),
            _ => bail!("{status}: {}", last_words(&fs::read_to_string(stderr)?)),
        }
        let used = serde_json::from_slice(&fs::read(&result)?).context("reading what was used")?;
        Ok(Run { used, stdout: fs::read_to_string(stdout)? })
    }
}

fn last_words(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LAST_WORDS)..).unwrap_or_default().join("; ")
}

/// `bessemer-bench measure`.
pub(crate) fn main(limit: u32, result: &Path, script: &str) -> Result<ExitCode> {
    set_child_subreaper(Some(getpid()))?;
    let started = Instant::now();
    let mut shell = Command::new("timeout")
        .args(["--kill-after=5", &limit.to_string(), "bash", "-o", "pipefail", "-c", script])
        .spawn()?;
    let status = shell.wait()?;
    while wait(WaitOptions::empty()).is_ok() {}
    let wall = started.elapsed();
    if !status.success() {
        return Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let used = Used {
        wall_seconds: wall.as_secs_f64(),
        cpu_seconds: seconds(usage.user_time()) + seconds(usage.system_time()),
        peak_kib: u64::try_from(usage.max_rss())?,
    };
    fs::write(result, serde_json::to_vec(&used)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a program to prepare something; what it prints is shown only when it fails.
pub(crate) fn prepare(program: &str, arguments: &[&str]) -> Result<String> {
    let output = clean(&mut Command::new(program))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be started; `make setup` installs it"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout)
}

/// Without a proxy: the server is on this machine.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// The middle one of `values`, if there are any.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle - 1)?, upper))
}

/// Seconds that `work` takes.
pub(crate) fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{last_words, median};

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn last_words_are_the_last_lines() {
        assert_eq!(last_words(""), "");
        assert_eq!(last_words("a\nb\nc\nd\n"), "b; c; d");
    }
}
