//! Powering the machine off and restarting it.

use std::{sync::mpsc::channel, thread, time::Duration};

use nix::{
    errno::Errno,
    sys::reboot::{RebootMode, reboot},
};

use crate::steps::power::PowerAction;

/// A disk that does not flush must not keep the machine on.
const SYNC_DEADLINE: Duration = Duration::from_secs(30);

/// Flushes file systems, for a bounded time, and switches the machine off or restarts it. Returns only when that
/// failed. The file systems of a ramdisk live in memory: none is unmounted.
pub fn act(action: PowerAction) -> Errno {
    let (done, finished) = channel();
    thread::spawn(move || {
        nix::unistd::sync();
        done.send(()).ok();
    });
    finished.recv_timeout(SYNC_DEADLINE).ok();
    let mode = match action {
        PowerAction::Off => RebootMode::RB_POWER_OFF,
        PowerAction::Reboot => RebootMode::RB_AUTOBOOT,
    };
    match reboot(mode) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}
