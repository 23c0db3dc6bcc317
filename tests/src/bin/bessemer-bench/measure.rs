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

/// After so many seconds a script hangs.
const LIMIT: &str = "900";

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

/// Runs `script` in bash with the disk `device` as `$DISK`; `folder` is its working directory.
pub(crate) fn run(folder: &Path, device: &Path, script: &str) -> Result<Run> {
    let (stdout, stderr, result) = (folder.join("stdout"), folder.join("stderr"), folder.join("used.json"));
    let status = clean(&mut Command::new(std::env::current_exe()?))
        .arg("measure")
        .arg(&result)
        .arg(script)
        .env("DISK", device)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .status()?;
    let stdout = fs::read_to_string(stdout)?;
    if !status.success() {
        bail!("{status}: {script}\n{stdout}{}", fs::read_to_string(stderr)?);
    }
    let used = serde_json::from_slice(&fs::read(&result)?).context("reading what was used")?;
    Ok(Run { used, stdout })
}

/// `bessemer-bench measure`.
pub(crate) fn main(result: &Path, script: &str) -> Result<ExitCode> {
    set_child_subreaper(Some(getpid()))?;
    let started = Instant::now();
    let mut shell = Command::new("timeout")
        .args(["--kill-after=10", LIMIT, "bash", "-o", "pipefail", "-c", script])
        .spawn()?;
    let status = shell.wait()?;
    while wait(WaitOptions::empty()).is_ok() {}
    let wall = started.elapsed();
    if !status.success() {
        return Ok(ExitCode::FAILURE);
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

/// The middle one of `values`.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle), values.get(middle.wrapping_sub(1))) {
        (0, Some(upper), Some(lower)) => f64::midpoint(*upper, *lower),
        (_, Some(middle), _) => *middle,
        (_, None, _) => f64::NAN,
    }
}

/// Seconds that `work` takes.
pub(crate) fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64())
}
