//! A BMC that is not there, for the driver `fake-hardware`: the whole API can be tried without a machine.
//!
//! The truth about a fake machine lives in this process, as that about a real one lives in its BMC; it begins with
//! what the node has stored, so that a restarted controller goes on. `driver_info` makes it slow or makes it fail.

mod machine;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::NodeId;

use self::{
    machine::{Machine, Truth},
    settings::Settings,
};
use super::{Bmc, BmcError};
use crate::node::{Dictionary, Node};

/// The keys of `driver_info` that a fake machine knows, with what they mean.
pub const PROPERTIES: &[(&str, &str)] = settings::PROPERTIES;

/// A random length out of the delay of that key of `driver_info`.
pub fn delay(info: &Dictionary, key: &str) -> Result<Duration, BmcError> {
    settings::delay(info, key)
}

/// What an inspection finds, if `driver_info` says so.
pub fn inventory(info: &Dictionary) -> Result<Option<Dictionary>, BmcError> {
    settings::inventory(info)
}

/// `interface.step` of the steps that `driver_info` makes fail.
pub fn failing_steps(info: &Dictionary) -> Result<Vec<String>, BmcError> {
    settings::failing_steps(info)
}

static MACHINES: LazyLock<Mutex<HashMap<NodeId, Arc<Mutex<Truth>>>>> = LazyLock::new(Mutex::default);

/// The machine of a node; the same one each time.
pub fn open(node: &Node) -> Result<Bmc, BmcError> {
    let settings = Settings::from_driver_info(&node.driver_info)?;
    let truth = {
        let mut machines = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(machines.entry(node.uuid).or_insert_with(|| Arc::new(Mutex::new(Truth::of(node)))))
    };
    let machine = Arc::new(Machine::new(node.label(), settings, truth));
    Ok(Bmc {
        boot_device: Some(machine.clone()),
        boot_mode: Some(machine.clone()),
        secure_boot: Some(machine.clone()),
        virtual_media: Some(machine.clone()),
        indicators: Some(machine.clone()),
        bios: Some(machine.clone()),
        firmware: Some(machine.clone()),
        ..Bmc::only_power(machine)
    })
}

/// The node is no more, and so is its machine.
pub(super) fn forget(node: NodeId) {
    MACHINES.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
}
