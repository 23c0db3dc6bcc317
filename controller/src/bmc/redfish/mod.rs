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
mod media;
mod messages;
mod overview;
mod pool;
mod power;
mod push;
mod secure_boot;
mod sensors;
mod settings;
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

use self::{client::Client, settings::Settings};
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
    let machine = Arc::new(Machine { client, found: OnceLock::new() });
    Ok(Bmc {
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
        ..Bmc::only_power(machine)
    })
}

/// One machine behind its BMC.
struct Machine {
    client: Client,
    /// Path of the system, when `driver_info` does not name it.
    found: OnceLock<String>,
}

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug)]
struct Pace {
    connect: Duration,
    request: Duration,
    /// First pause before a request is repeated; doubles.
    retry: Duration,
    /// No repetition is started after this.
    retry_until: Duration,
    /// Pause before a reset is repeated that the BMC refuses for now.
    conflict: Duration,
    /// Pause before media are inserted again after a server error.
    media: Duration,
    /// Shortest pause between two looks at something that changes.
    poll: Duration,
    /// Longest.
    poll_max: Duration,
    /// How long a task of the BMC may run, and how long an inserted medium may take to show.
    task: Duration,
    /// How long anything may take that nobody watches: an insertion, a look at all there is.
    operation: Duration,
    /// How long a BMC may take to restart, and to begin with it.
    restart: Duration,
    restart_begins: Duration,
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
