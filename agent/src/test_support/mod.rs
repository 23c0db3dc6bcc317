//! What several rooms' tests need: an HTTP server that misbehaves on order, a proxy, disk images, loop devices, xz
//! files of all kinds, a machine of folders.

pub(crate) mod disks;
pub(crate) mod esp;
pub(crate) mod machine;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod xz;

use std::sync::Mutex;

use crate::steps::StepReport;

/// Remembers what a step said.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) progress: Mutex<Vec<(&'static str, u64, u64)>>,
    pub(crate) warnings: Mutex<Vec<String>>,
}

impl StepReport for Heard {
    fn progress(&self, stage: &'static str, bytes_done: u64, bytes_total: u64) {
        self.progress.lock().unwrap().push((stage, bytes_done, bytes_total));
    }

    fn warning(&self, message: String) {
        self.warnings.lock().unwrap().push(message);
    }
}
