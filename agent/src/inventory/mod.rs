//! What the machine is made of, from sysfs and procfs below given roots, so that fixtures are folders.

mod cpu;
mod disks;
mod dmi;
mod firmware;
mod memory;
mod nics;

use bessemer_proto::inventory::Inventory;

use crate::{
    disk::{DiscoverError, sysfs},
    steps::Roots,
};

/// Everything that can be found out. What a machine does not tell is absent, never an error.
pub fn collect(roots: &Roots) -> Result<Inventory, DiscoverError> {
    Ok(Inventory {
        interfaces: nics::collect(roots, &nics::addresses()),
        cpu: cpu::collect(roots),
        disks: disks::collect(roots)?,
        memory: memory::collect(roots),
        system_vendor: dmi::collect(roots),
        boot: firmware::collect(roots),
        hostname: sysfs::text(&roots.proc.join("sys/kernel/hostname")),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
