//! What somebody has to do when the agent is all the userspace there is: PID 1 duties, drivers, network.
//!
//! PID 1 itself ([`supervisor`]) does next to nothing: it mounts the kernel's file systems, starts the agent as
//! its child and reaps whatever is orphaned. So the agent's own children keep their exit status, and an agent
//! that panics, is killed or gives up is reported on the console instead of becoming a kernel panic.

pub mod drivers;
pub mod kmsg;
pub mod modules;
mod mounts;
pub mod network;
pub mod power;
mod supervisor;

pub use supervisor::{CHILD_ARGUMENT, supervise};

/// True when this process is PID 1.
#[must_use]
pub fn is_pid1() -> bool {
    std::process::id() == 1
}

/// True when this process is the agent that our own PID 1 started.
#[must_use]
pub fn is_child_of_pid1() -> bool {
    nix::unistd::getppid().as_raw() == 1
        && std::env::args_os().nth(1).is_some_and(|word| word == CHILD_ARGUMENT)
}
