//! A room of its own for the benchmark, so that nothing of it stays however it ends, SIGKILL included.
//!
//! The room has its own process numbers and its own `/dev/shm`. The first process inside dies with the one outside;
//! then the kernel kills whoever else is in there, and with the last of them goes what they kept in memory.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rustix::process::{Signal, set_parent_process_death_signal};

/// A file system in memory, private to the room.
pub(crate) const RAM: &str = "/dev/shm";

/// Runs this program in a room, with its own arguments and `mark`, which tells it that it is inside.
pub(crate) fn run(mark: &str) -> Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .context("cannot make namespaces; the benchmark wants root, for loop devices too")?;
    let status =
        Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).arg(mark).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// What the first process inside does first.
pub(crate) fn furnish() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let none = None::<&Path>;
    // What is mounted here is not seen outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    fs::create_dir_all(RAM)?;
    // Larger than the default of half the memory: a disk and a copy of an image must fit.
    mount(Some("tmpfs"), RAM, Some("tmpfs"), MsFlags::empty(), Some("size=90%"))
        .with_context(|| format!("mounting {RAM}"))
}
