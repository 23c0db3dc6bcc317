//! Redfish (DMTF DSP0266): standard behaviour.
//!
//! [`Client`](client::Client) speaks HTTP: authentication, retries, bounds, tasks. The other files each implement one
//! capability on top of it. What a BMC sends is hostile: sizes and waits are bounded, links stay on its origin.

mod auth;
mod bios;
mod boot;
mod boot_mode;
mod client;
mod collection;
mod console;
mod document;
mod events;
mod firmware;
mod inventory;
mod lights;
mod manager;
pub(in crate::bmc) mod media;
mod messages;
mod overview;
mod pool;
mod power;
mod push;
mod record;
mod scrub;
mod secure_boot;
mod sensors;
mod settings;
mod ssh;
mod storage;
mod system;
mod system_log;
mod task;
mod tls;
mod transport;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

pub use self::record::{Bounds, Recorded, Recording, record};
pub(in crate::bmc) use self::{
    client::Client,
    console::by_ssh,
    document::Document,
    settings::{AuthType, Credentials, Names, Settings, Verify, verify},
    transport::{Authorization, Call, certificate_problem},
};
use super::{Bmc, BmcError};
use crate::node::Dictionary;

/// A BMC from the `redfish_*` keys of `driver_info`.
pub fn open(driver_info: &Dictionary) -> Result<Bmc, BmcError> {
    open_with(driver_info, Pace::default())
}

/// Ends the sessions that are open at BMCs, as far as they answer soon: they have few places for them.
pub async fn close_sessions() {
    auth::close_all().await;
}

fn open_with(driver_info: &Dictionary, pace: Pace) -> Result<Bmc, BmcError> {
    let client = Client::new(Settings::from_driver_info(driver_info)?, pace)?;
    Ok(bmc_of(&Arc::new(Machine::new(client))))
}

/// All that the standard has.
pub(in crate::bmc) fn bmc_of(machine: &Arc<Machine>) -> Bmc {
    Bmc {
        boot_device: Some(machine.clone()),
        boot_mode: Some(machine.clone()),
        secure_boot: Some(machine.clone()),
        virtual_media: Some(machine.clone()),
        nmi: Some(machine.clone()),
        indicators: Some(machine.clone()),
        bios: Some(machine.clone()),
        firmware: Some(machine.clone()),
        overview: Some(machine.clone()),
        firmware_update: Some(machine.clone()),
        raid: Some(machine.clone()),
        inventory: Some(machine.clone()),
        sensors: Some(machine.clone()),
        http_boot: Some(machine.clone()),
        log: Some(machine.clone()),
        console: Some(machine.clone()),
        manager: Some(machine.clone()),
        events: Some(machine.clone()),
        ..Bmc::only_power(machine.clone())
    }
}

/// One machine behind its BMC.
pub(in crate::bmc) struct Machine {
    pub(in crate::bmc) client: Client,
    /// Path of the system, when `driver_info` does not name it.
    found: OnceLock<String>,
}

impl Machine {
    pub(in crate::bmc) fn new(client: Client) -> Self {
        Self { client, found: OnceLock::new() }
    }
}

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug)]
pub(in crate::bmc) struct Pace {
    pub(in crate::bmc) connect: Duration,
    pub(in crate::bmc) request: Duration,
    /// First pause before a request is repeated; doubles.
    pub(in crate::bmc) retry: Duration,
    /// No repetition is started after this.
    pub(in crate::bmc) retry_until: Duration,
    /// Pause before a reset is repeated that the BMC refuses for now.
    pub(in crate::bmc) conflict: Duration,
    /// Pause before media are inserted again after a server error.
    pub(in crate::bmc) media: Duration,
    /// Shortest pause between two looks at something that changes.
    pub(in crate::bmc) poll: Duration,
    /// Longest.
    pub(in crate::bmc) poll_max: Duration,
    /// How long a task of the BMC may run, and how long an inserted medium may take to show.
    pub(in crate::bmc) task: Duration,
    /// How long anything may take that nobody watches: an insertion, a look at all there is.
    pub(in crate::bmc) operation: Duration,
    /// How long a BMC may take to restart, and to begin with it.
    pub(in crate::bmc) restart: Duration,
    pub(in crate::bmc) restart_begins: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            retry: Duration::from_millis(500),
            retry_until: Duration::from_secs(20),
            conflict: Duration::from_secs(10),
            media: Duration::from_secs(3),
            poll: Duration::from_secs(1),
            poll_max: Duration::from_secs(5),
            task: Duration::from_secs(120),
            operation: Duration::from_secs(300),
            restart: Duration::from_secs(600),
            restart_begins: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests;
