//! PID 1: starts the agent, reaps orphans, and has the last word.

use std::{
    fs::OpenOptions,
    io,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::wait::{WaitStatus, waitpid},
    unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{mounts, power};
use crate::{report::Console, steps::power::PowerAction};

/// First argument of the agent that PID 1 starts.
pub const CHILD_ARGUMENT: &str = "--agent-of-init";

/// How long the last words stay on the screen before the machine powers off.
const READING_TIME: Duration = Duration::from_secs(60);

/// Does the duties of PID 1 until the machine is off. Never returns, never panics out.
pub fn supervise() -> ! {
    let reason = match std::panic::catch_unwind(run) {
        Ok(reason) => reason,
        Err(_) => "PID 1 panicked".to_owned(),
    };
    let console = Console::kernel(Path::new("/sys"), Path::new("/dev"));
    for line in [
        String::new(),
        "*** Bessemer: this machine cannot be deployed ***".to_owned(),
        reason,
        format!("The lines above say why. The machine powers off in {} seconds.", READING_TIME.as_secs()),
    ] {
        console.line(&line);
    }
    thread::sleep(READING_TIME);
    loop {
        let error = power::act(PowerAction::Off);
        console.line(&format!("powering off failed: {error}"));
        thread::sleep(READING_TIME);
    }
}

/// Runs the agent to its end; returns why it ended.
fn run() -> String {
    let trouble = mounts::mount_all();
    if let Err(error) = open_console() {
        // Nobody will read it, unless there is a console after all.
        eprintln!("opening /dev/console failed: {error}");
    }
    for sentence in trouble {
        eprintln!("{sentence}");
    }
    // What the kernel hands to init as environment may hold the join token: nobody inherits it.
    let child = Command::new("/proc/self/exe")
        .arg(CHILD_ARGUMENT)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/")
        .env("TERM", "linux")
        .stdin(Stdio::null())
        .spawn();
    match child {
        Ok(child) => reap_until(Pid::from_raw(child.id().cast_signed())),
        Err(error) => format!("The agent cannot be started: {error}."),
    }
}

/// The kernel opens no console for init when the initramfs has no `/dev/console`.
fn open_console() -> io::Result<()> {
    let console = OpenOptions::new().read(true).write(true).open("/dev/console")?;
    dup2_stdin(&console)?;
    dup2_stdout(&console)?;
    dup2_stderr(&console)?;
    Ok(())
}

/// Reaps every child until the agent itself has ended.
fn reap_until(agent: Pid) -> String {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == agent => {
                return format!("The agent ended with exit code {code}.");
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == agent => {
                let hint = if signal == nix::sys::signal::Signal::SIGKILL {
                    " (is there too little memory?)"
                } else {
                    ""
                };
                return format!("The agent was killed by {signal}{hint}.");
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return format!("Waiting for the agent failed: {error}."),
        }
    }
}
